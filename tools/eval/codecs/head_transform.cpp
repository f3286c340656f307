#include "tools/eval/codecs/head_transform.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/base/assert.hpp"
#include "core/base/half.hpp"
#include "core/codec/equaliser.hpp"
#include "core/layout/block_layout.hpp"
#include "tools/eval/codecs/number_code.hpp"

namespace kvault::eval {
namespace {

constexpr std::uint64_t kHaarSeed = 42;

Matrix rotation_of(RotationKind kind, std::size_t n) {
  switch (kind) {
    case RotationKind::signed_hadamard:
      if (is_supported_head_dim(static_cast<std::uint32_t>(n))) return signed_rotation(n);
      return haar_rotation(n, kHaarSeed);
    case RotationKind::plain_hadamard:
      return sylvester_rotation(n);
    case RotationKind::haar:
      return haar_rotation(n, kHaarSeed);
    case RotationKind::none:
      break;
  }
  return Matrix::identity(n);
}

std::vector<double> diagonal_of(const Matrix& matrix) {
  std::vector<double> entries;
  for (std::size_t i = 0; i < matrix.n(); ++i) entries.push_back(matrix.at(i, i));
  return entries;
}

Matrix vector_transform(std::span<const double> q_energy, std::span<const double> key_variance) {
  std::vector<double> entries;
  for (const Half e : learn_equaliser(q_energy, key_variance)) {
    entries.push_back(double{to_float(e)});
  }
  return Matrix::diagonal(entries);
}

/// T with T^T T = C^-1 # M, the geometric mean of the inverse covariance of keys and the second
/// moment of queries: the noise of keys then costs every direction alike.
Matrix matrix_transform(const Matrix& query_moment, const Matrix& key_covariance) {
  const Eigen c = eigen_of(key_covariance);
  const Matrix root = c.power(0.5);
  const Matrix inverse_root = c.power(-0.5);
  const Matrix middle = eigen_of(root.times(query_moment).times(root)).power(0.5);
  return eigen_of(inverse_root.times(middle).times(inverse_root)).power(0.5);
}

Matrix shrunk(const Matrix& matrix, double share) {
  Matrix result = matrix;
  const double mean = matrix.trace() / static_cast<double>(matrix.n());
  for (std::size_t i = 0; i < matrix.n(); ++i) {
    for (std::size_t j = 0; j < matrix.n(); ++j) result.at(i, j) *= 1 - share;
    result.at(i, i) += share * mean;
  }
  return result;
}

/// The same about the matrix's own diagonal: channels keep their variances.
Matrix shrunk_to_diagonal(const Matrix& matrix, double share) {
  Matrix result = matrix;
  for (std::size_t i = 0; i < matrix.n(); ++i) {
    for (std::size_t j = 0; j < matrix.n(); ++j) {
      if (i != j) result.at(i, j) *= 1 - share;
    }
  }
  return result;
}

/// The equalising part, before the rotation.
Matrix equalising_of(const TurboOptions& options, const HeadRows& in) {
  const std::size_t dim = in.head_dim;
  const std::size_t n_learn = std::min<std::size_t>(options.n_learn, in.n_token);
  const auto first_keys = in.rows.first(n_learn * dim);
  const bool has_queries = !in.queries.empty() && n_learn > 1;
  switch (options.transform) {
    case TransformKind::learned: {
      if (!has_queries) break;
      const auto queries = in.queries.first(n_learn * in.group * dim);
      return vector_transform(diagonal_of(second_moment(queries, dim, 0)),
                              diagonal_of(second_moment(first_keys, dim, n_learn)));
    }
    case TransformKind::matrix: {
      if (!has_queries) break;
      const auto queries = in.queries.first(n_learn * in.group * dim);
      return matrix_transform(
          shrunk_to_diagonal(second_moment(queries, dim, 0), options.shrinkage),
          shrunk_to_diagonal(second_moment(first_keys, dim, n_learn), options.shrinkage));
    }
    case TransformKind::weights:
      if (in.profile == nullptr || in.side == Side::value) break;
      return vector_transform(in.profile->query_energy, in.profile->key_energy);
    case TransformKind::profile:
      if (in.profile == nullptr || in.side == Side::value) break;
      return vector_transform(diagonal_of(Matrix(dim, in.profile->query_moment)),
                              diagonal_of(Matrix(dim, in.profile->key_covariance)));
    case TransformKind::profile_matrix:
      if (in.profile == nullptr || in.side == Side::value) break;
      return matrix_transform(Matrix(dim, in.profile->query_moment),
                              Matrix(dim, in.profile->key_covariance));
    case TransformKind::none:
    case TransformKind::allocated:
      break;
  }
  return Matrix::identity(dim);
}

Matrix inverse_of_symmetric(const Matrix& matrix) { return eigen_of(matrix).power(-1, 1e-12); }

bool is_diagonal(const Matrix& matrix) {
  for (std::size_t i = 0; i < matrix.n(); ++i) {
    for (std::size_t j = 0; j < matrix.n(); ++j) {
      if (i != j && matrix.at(i, j) != 0) return false;
    }
  }
  return true;
}

Matrix inverse_of(const Matrix& matrix) {
  if (!is_diagonal(matrix)) return inverse_of_symmetric(matrix);
  std::vector<double> entries = diagonal_of(matrix);
  for (double& entry : entries) entry = 1 / entry;
  return Matrix::diagonal(entries);
}

/// Principal axes of the rows under what their error costs, each scaled to variance 1.
HeadTransform allocated_of(const TurboOptions& options, const HeadRows& in) {
  const std::size_t dim = in.head_dim;
  const bool is_key = in.side == Side::key;
  const Matrix metric(dim, is_key ? in.profile->query_moment : in.profile->value_metric);
  const Matrix covariance(dim, is_key ? in.profile->key_covariance : in.profile->value_covariance);
  const Eigen cost = eigen_of(shrunk(metric, 1e-3));
  const Matrix root = cost.power(0.5);
  const Eigen axes = eigen_of(root.times(covariance).times(root));
  std::vector<double> variances = axes.values;
  for (double& v : variances) v = std::max(v, axes.values.front() * 1e-9);
  std::vector<double> shrink;
  std::vector<double> stretch;
  for (const double v : variances) {
    shrink.push_back(1 / std::sqrt(v));
    stretch.push_back(std::sqrt(v));
  }
  const Matrix forward = Matrix::diagonal(shrink).times(axes.vectors).times(root);
  const Matrix inverse =
      cost.power(-0.5).times(axes.vectors.transposed()).times(Matrix::diagonal(stretch));
  const auto total = static_cast<std::uint32_t>(std::lround(options.bits * double(dim)));
  HeadTransform transform{
      .map = RowMap(forward, inverse),
      .bits = allocate_bits(
          variances, options.code == CodeKind::trellis ? trellis_errors() : scalar_errors(), total),
      .weights = {}};
  double sum = 0;
  for (const double v : variances) sum += v / static_cast<double>(dim);
  for (const double v : variances) transform.weights.push_back(static_cast<float>(v / sum));
  return transform;
}

}  // namespace

std::vector<std::uint8_t> allocate_bits(std::span<const double> variances,
                                        std::span<const double> errors, std::uint32_t total) {
  KVAULT_ASSERT(total <= variances.size() * (errors.size() - 1));
  std::vector<std::uint8_t> bits(variances.size());
  for (std::uint32_t spent = 0; spent < total; ++spent) {
    std::size_t best = 0;
    double best_gain = -1;
    for (std::size_t i = 0; i < bits.size(); ++i) {
      if (bits[i] + 1U >= errors.size()) continue;
      const double gain = variances[i] * (errors[bits[i]] - errors[bits[i] + 1U]);
      if (gain > best_gain) {
        best = i;
        best_gain = gain;
      }
    }
    ++bits[best];
  }
  return bits;
}

HeadTransform transform_of(const TurboOptions& options, const HeadRows& in) {
  if (options.transform == TransformKind::allocated && in.profile != nullptr) {
    return allocated_of(options, in);
  }
  const Matrix rotation = rotation_of(options.rotation, in.head_dim);
  RowMap map(rotation, rotation.transposed());
  if (options.transform != TransformKind::none) {
    const Matrix equalising = equalising_of(options, in);
    map = RowMap(rotation.times(equalising), inverse_of(equalising).times(rotation.transposed()));
  }
  return {.map = std::move(map),
          .bits = {static_cast<std::uint8_t>(options.bits)},
          .weights = std::vector<float>(in.head_dim, 1.0F)};
}

}  // namespace kvault::eval
