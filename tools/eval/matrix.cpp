#include "tools/eval/matrix.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "core/base/assert.hpp"
#include "core/codec/rotation.hpp"
#include "tools/model/matmul.hpp"
#include "tools/model/random.hpp"

namespace kvault::eval {
namespace {

constexpr int kSweepsMax = 60;

std::vector<float> as_float(const Matrix& matrix) {
  std::vector<float> entries;
  for (std::size_t i = 0; i < matrix.n(); ++i) {
    for (std::size_t j = 0; j < matrix.n(); ++j) {
      entries.push_back(static_cast<float>(matrix.at(i, j)));
    }
  }
  return entries;
}

double off_diagonal(const Matrix& a) {
  double sum = 0;
  for (std::size_t i = 0; i < a.n(); ++i) {
    for (std::size_t j = 0; j < i; ++j) sum += a.at(i, j) * a.at(i, j);
  }
  return sum;
}

/// Turns rows and columns p and q of `a` so that a(p, q) vanishes, and the rows of `vectors`.
void turn(Matrix& a, Matrix& vectors, std::size_t p, std::size_t q) {
  if (a.at(p, q) == 0) return;
  const double theta = (a.at(q, q) - a.at(p, p)) / (2 * a.at(p, q));
  const double tangent =
      (theta >= 0 ? 1.0 : -1.0) / (std::abs(theta) + std::sqrt(theta * theta + 1));
  const double cosine = 1 / std::sqrt(tangent * tangent + 1);
  const double sine = tangent * cosine;
  const std::size_t n = a.n();
  for (std::size_t k = 0; k < n; ++k) {
    const double low = a.at(k, p);
    const double high = a.at(k, q);
    a.at(k, p) = cosine * low - sine * high;
    a.at(k, q) = sine * low + cosine * high;
  }
  for (std::size_t k = 0; k < n; ++k) {
    const double low = a.at(p, k);
    const double high = a.at(q, k);
    a.at(p, k) = cosine * low - sine * high;
    a.at(q, k) = sine * low + cosine * high;
    const double low_vector = vectors.at(p, k);
    const double high_vector = vectors.at(q, k);
    vectors.at(p, k) = cosine * low_vector - sine * high_vector;
    vectors.at(q, k) = sine * low_vector + cosine * high_vector;
  }
}

}  // namespace

Matrix::Matrix(std::size_t n, std::vector<double> entries) : n_(n), entries_(std::move(entries)) {
  KVAULT_ASSERT(entries_.size() == n * n);
}

Matrix Matrix::identity(std::size_t n) { return diagonal(std::vector<double>(n, 1.0)); }

Matrix Matrix::diagonal(std::span<const double> entries) {
  Matrix matrix(entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) matrix.at(i, i) = entries[i];
  return matrix;
}

double Matrix::trace() const {
  double sum = 0;
  for (std::size_t i = 0; i < n_; ++i) sum += at(i, i);
  return sum;
}

Matrix Matrix::transposed() const {
  Matrix result(n_);
  for (std::size_t i = 0; i < n_; ++i) {
    for (std::size_t j = 0; j < n_; ++j) result.at(j, i) = at(i, j);
  }
  return result;
}

Matrix Matrix::times(const Matrix& other) const {
  KVAULT_ASSERT(n_ == other.n_);
  Matrix result(n_);
  for (std::size_t i = 0; i < n_; ++i) {
    for (std::size_t k = 0; k < n_; ++k) {
      const double factor = at(i, k);
      for (std::size_t j = 0; j < n_; ++j) result.at(i, j) += factor * other.at(k, j);
    }
  }
  return result;
}

Matrix Eigen::power(double exponent, double floor) const {
  const double least = std::max(values.front() * floor, 1e-300);
  std::vector<double> powers;
  for (const double value : values) powers.push_back(std::pow(std::max(value, least), exponent));
  return vectors.transposed().times(Matrix::diagonal(powers)).times(vectors);
}

Eigen eigen_of(const Matrix& symmetric) {
  const std::size_t n = symmetric.n();
  Matrix a = symmetric;
  Matrix vectors = Matrix::identity(n);
  const double enough = 1e-24 * std::max(1e-300, off_diagonal(a));
  for (int sweep = 0; sweep < kSweepsMax && off_diagonal(a) > enough; ++sweep) {
    for (std::size_t p = 0; p < n; ++p) {
      for (std::size_t q = p + 1; q < n; ++q) turn(a, vectors, p, q);
    }
  }
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&a](std::size_t i, std::size_t j) { return a.at(i, i) > a.at(j, j); });
  Eigen eigen{.values = {}, .vectors = Matrix(n)};
  for (std::size_t i = 0; i < n; ++i) {
    eigen.values.push_back(a.at(order[i], order[i]));
    for (std::size_t k = 0; k < n; ++k) eigen.vectors.at(i, k) = vectors.at(order[i], k);
  }
  return eigen;
}

RowMap::RowMap(const Matrix& forward, const Matrix& inverse)
    : dim_(forward.n()), forward_(as_float(forward)), inverse_(as_float(inverse)) {
  KVAULT_ASSERT(forward.n() == inverse.n());
}

void RowMap::forward(std::span<const float> rows, std::span<float> mapped) const {
  tools::matmul({.n = rows.size() / dim_, .in = dim_, .out = dim_}, rows, forward_, mapped);
}

void RowMap::inverse(std::span<const float> mapped, std::span<float> rows) const {
  tools::matmul({.n = rows.size() / dim_, .in = dim_, .out = dim_}, mapped, inverse_, rows);
}

Matrix haar_rotation(std::size_t n, std::uint64_t seed) {
  tools::Random random(seed);
  return Matrix(n, tools::orthonormal_rows(random, n, n));
}

Matrix sylvester_rotation(std::size_t n) {
  KVAULT_ASSERT(std::has_single_bit(n));
  Matrix matrix(n);
  const double norm = 1 / std::sqrt(static_cast<double>(n));
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      matrix.at(i, j) = std::popcount(i & j) % 2 == 0 ? norm : -norm;
    }
  }
  return matrix;
}

Matrix signed_rotation(std::size_t n) {
  const Rotation rotation(static_cast<std::uint32_t>(n));
  Matrix matrix(n);
  std::vector<float> column(n);
  for (std::size_t j = 0; j < n; ++j) {
    std::fill(column.begin(), column.end(), 0.0F);
    column[j] = 1;
    rotation.apply(column);
    for (std::size_t i = 0; i < n; ++i) matrix.at(i, j) = double{column[i]};
  }
  return matrix;
}

Matrix second_moment(std::span<const float> rows, std::size_t dim, std::size_t n_stretch) {
  const std::size_t n = rows.size() / dim;
  Matrix sum(dim);
  std::vector<double> mean(dim);
  std::vector<double> deviation(dim);
  const std::size_t stretch = n_stretch == 0 ? n : n_stretch;
  for (std::size_t first = 0; first < n; first += stretch) {
    const std::size_t end = std::min(n, first + stretch);
    std::fill(mean.begin(), mean.end(), 0.0);
    for (std::size_t t = first; t < end && n_stretch != 0; ++t) {
      for (std::size_t i = 0; i < dim; ++i) mean[i] += double{rows[t * dim + i]};
    }
    for (double& entry : mean) entry /= static_cast<double>(end - first);
    for (std::size_t t = first; t < end; ++t) {
      for (std::size_t i = 0; i < dim; ++i) deviation[i] = double{rows[t * dim + i]} - mean[i];
      for (std::size_t i = 0; i < dim; ++i) {
        for (std::size_t j = 0; j < dim; ++j) sum.at(i, j) += deviation[i] * deviation[j];
      }
    }
  }
  for (std::size_t i = 0; i < dim; ++i) {
    for (std::size_t j = 0; j < dim; ++j) sum.at(i, j) /= static_cast<double>(std::max(n, 1UL));
  }
  return sum;
}

}  // namespace kvault::eval
