#pragma once

#include <cstdint>
#include <span>

namespace kvault {

/// How the orthonormal Hadamard matrix of order D factors: P_m (x) Sylvester(2^k), D = m * 2^k.
/// m is 1 (no Paley factor), 12, 20 or 28. docs/format.md, "The rotation".
struct HadamardFactors {
  std::uint32_t paley_order = 1;
  std::uint32_t sylvester_order = 1;
};

/// pre: is_supported_head_dim(head_dim)
HadamardFactors hadamard_factors(std::uint32_t head_dim);

/// Entries +1 and -1 of P_m, row-major [m, m]; a single +1 for m = 1.
/// pre: m is 1, 12, 20 or 28, signs.size() == m * m
void fill_paley_signs(std::uint32_t m, std::span<float> signs);

}  // namespace kvault
