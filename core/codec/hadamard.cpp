#include "core/codec/hadamard.hpp"

#include "core/base/assert.hpp"
#include "core/layout/block_layout.hpp"

namespace kvault {
namespace {

/// The Legendre symbol of `x` modulo the odd prime `q`: 0, 1 for a square, else -1.
float legendre(std::uint32_t x, std::uint32_t q) {
  const std::uint32_t residue = x % q;
  if (residue == 0) return 0;
  for (std::uint32_t root = 1; root < q; ++root) {
    if (root * root % q == residue) return 1;
  }
  return -1;
}

/// Paley I, order q + 1, q = 3 modulo 4: identity plus a skew matrix.
float paley_one_sign(std::uint32_t q, std::uint32_t row, std::uint32_t column) {
  if (row == column || row == 0) return 1;
  if (column == 0) return -1;
  return legendre(q + row - column, q);
}

/// Paley II, order 2 (q + 1), q = 1 modulo 4: from the symmetric conference matrix.
float paley_two_sign(std::uint32_t q, std::uint32_t row, std::uint32_t column) {
  constexpr float kOff[2][2] = {{1, 1}, {1, -1}};
  constexpr float kDiagonal[2][2] = {{1, -1}, {-1, -1}};
  const std::uint32_t a = row / 2;
  const std::uint32_t b = column / 2;
  if (a == b) return kDiagonal[row % 2][column % 2];
  const float conference = (a == 0 || b == 0) ? 1.0F : legendre(q + a - b, q);
  return conference * kOff[row % 2][column % 2];
}

}  // namespace

HadamardFactors hadamard_factors(std::uint32_t head_dim) {
  KVAULT_ASSERT(is_supported_head_dim(head_dim));
  switch (head_dim) {
    case 48:
      return {12, 4};
    case 80:
      return {20, 4};
    case 96:
      return {12, 8};
    case 112:
      return {28, 4};
    case 160:
      return {20, 8};
    case 192:
      return {12, 16};
    default:
      return {1, head_dim};
  }
}

void fill_paley_signs(std::uint32_t m, std::span<float> signs) {
  KVAULT_ASSERT(m == 1 || m == 12 || m == 20 || m == 28);
  KVAULT_ASSERT(signs.size() == std::size_t{m} * m);
  for (std::uint32_t row = 0; row < m; ++row) {
    for (std::uint32_t column = 0; column < m; ++column) {
      float sign = 1;
      if (m == 28) {
        sign = paley_two_sign(13, row, column);
      } else if (m > 1) {
        sign = paley_one_sign(m - 1, row, column);
      }
      signs[std::size_t{row} * m + column] = sign;
    }
  }
}

}  // namespace kvault
