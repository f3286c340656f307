#pragma once

#include <array>
#include <cstddef>

#include "core/layout/scheme.hpp"

namespace kvault::cpu {

/// What is added to the weights of a page's tokens before their fractions are cut: (rank + 1/2) /
/// 128, so that many equal small weights keep their sum, where rounding would lose or double all of
/// them. The ranks are those of multiples of the golden ratio: every run of tokens, and every
/// second, third or fourth token alone, has its share of small and of large ones.
struct alignas(64) DitherTable {
  std::array<float, kPageTokens> at{};
};

constexpr DitherTable make_dither() {
  std::array<double, kPageTokens> fractions{};
  for (std::size_t t = 0; t < kPageTokens; ++t) {
    const double multiple = (static_cast<double>(t) + 0.5) * 0.61803398874989485;
    fractions[t] = multiple - static_cast<double>(static_cast<std::size_t>(multiple));
  }
  DitherTable table;
  for (std::size_t t = 0; t < kPageTokens; ++t) {
    std::size_t rank = 0;
    for (const double fraction : fractions) rank += fraction < fractions[t] ? 1 : 0;
    table.at[t] = (static_cast<float>(rank) + 0.5F) / static_cast<float>(kPageTokens);
  }
  return table;
}

inline constexpr DitherTable kDither = make_dither();

}  // namespace kvault::cpu
