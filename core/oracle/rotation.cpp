#include <bit>
#include <cmath>

#include "core/oracle/oracle.hpp"

namespace kvault::oracle {
namespace {

/// The Legendre symbol of x modulo the prime q.
int legendre(int x, int q) {
  const int rest = ((x % q) + q) % q;
  if (rest == 0) return 0;
  for (int root = 1; root < q; ++root) {
    if ((root * root) % q == rest) return 1;
  }
  return -1;
}

/// Paley I of order q + 1 at row i, column j.
int paley_one(int i, int j, int q) {
  if (i == 0) return 1;
  if (j == 0) return -1;
  return i == j ? 1 : legendre(i - j, q);
}

/// Paley II of order 2 (q + 1) at row i, column j.
int paley_two(int i, int j, int q) {
  constexpr int kA[2][2] = {{1, 1}, {1, -1}};
  constexpr int kB[2][2] = {{1, -1}, {-1, -1}};
  const int a = i / 2;
  const int b = j / 2;
  int c = 1;
  if (a == 0 && b == 0) c = 0;
  if (a > 0 && b > 0) c = legendre(a - b, q);
  return c * kA[i % 2][j % 2] + (a == b ? kB[i % 2][j % 2] : 0);
}

int paley(int i, int j, int order) {
  switch (order) {
    case 12:
      return paley_one(i, j, 11);
    case 20:
      return paley_one(i, j, 19);
    case 28:
      return paley_two(i, j, 13);
    default:
      return 1;
  }
}

/// m of head_dim = m * 2^k, or 0 where the format has no such matrix.
int paley_order(std::uint32_t head_dim) {
  switch (head_dim) {
    case 32:
    case 64:
    case 128:
    case 256:
    case 512:
      return 1;
    case 48:
    case 96:
    case 192:
      return 12;
    case 80:
    case 160:
      return 20;
    case 112:
      return 28;
    default:
      return 0;
  }
}

}  // namespace

std::vector<double> hadamard(std::uint32_t head_dim) {
  const int order = paley_order(head_dim);
  if (order == 0) return {};
  const auto n_outer = static_cast<unsigned>(order);
  const unsigned inner = head_dim / n_outer;
  const double unit = 1.0 / std::sqrt(static_cast<double>(head_dim));
  std::vector<int> outer;  // P, [order, order]
  for (int a = 0; a < order; ++a) {
    for (int b = 0; b < order; ++b) outer.push_back(paley(a, b, order));
  }
  std::vector<double> matrix;
  for (unsigned i = 0; i < head_dim; ++i) {
    for (unsigned j = 0; j < head_dim; ++j) {
      const int sylvester = std::popcount((i % inner) & (j % inner)) % 2 == 0 ? 1 : -1;
      matrix.push_back(unit * outer[(i / inner) * n_outer + j / inner] * sylvester);
    }
  }
  return matrix;
}

std::vector<double> signs(std::uint32_t head_dim) {
  std::uint64_t state = 0x6B7661756C743031U;
  std::uint64_t z = 0;
  std::vector<double> sign;
  for (std::uint32_t i = 0; i < head_dim; ++i) {
    if (i % 64 == 0) {
      state += 0x9E3779B97F4A7C15U;
      z = state;
      z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
      z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
      z = z ^ (z >> 31);
    }
    sign.push_back(((z >> (i % 64)) & 1U) != 0 ? -1.0 : 1.0);
  }
  return sign;
}

Result<Rotation> Rotation::create(std::uint32_t head_dim) {
  Rotation rotation{head_dim, hadamard(head_dim), signs(head_dim)};
  if (rotation.matrix.empty()) {
    return fail(Errc::unsupported, message("there is no rotation of order ", head_dim));
  }
  return rotation;
}

void Rotation::forward(std::span<const double> x, std::span<double> y) const {
  for (std::size_t i = 0; i < head_dim; ++i) {
    const double* row = &matrix[i * head_dim];
    double sum = 0;
    for (std::size_t j = 0; j < head_dim; ++j) sum += row[j] * (sign[j] * x[j]);
    y[i] = sum;
  }
}

void Rotation::inverse(std::span<const double> y, std::span<double> x) const {
  for (double& entry : x) entry = 0;
  for (std::size_t i = 0; i < head_dim; ++i) {
    const double* row = &matrix[i * head_dim];
    for (std::size_t j = 0; j < head_dim; ++j) x[j] += row[j] * y[i];
  }
  for (std::size_t j = 0; j < head_dim; ++j) x[j] *= sign[j];
}

}  // namespace kvault::oracle
