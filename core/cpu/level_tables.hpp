#pragma once

#include <array>
#include <cstdint>

#include "core/layout/scheme.hpp"

// Levels of the codebooks as bytes, by nibble: a table of fewer than 16 codes repeats, so that the
// bits of a nibble that are not its code's may hold anything.

namespace kvault::cpu {

using NibbleLevels = std::array<std::uint8_t, 16>;

/// The levels as they stand, 0..127; centred by what a sum starts from. q8 has none.
constexpr NibbleLevels key_levels(Scheme scheme) {
  constexpr std::uint8_t kLevels4[] = {KVAULT_TQ4_TABLE};
  constexpr std::uint8_t kLevels3[] = {KVAULT_TQ3_TABLE};
  constexpr std::uint8_t kLevels2[] = {KVAULT_TQ2_TABLE};
  NibbleLevels levels{};
  for (std::size_t i = 0; i < levels.size(); ++i) {
    if (scheme == Scheme::tq4) levels[i] = kLevels4[i];
    if (scheme == Scheme::tq3) levels[i] = kLevels3[i % 8];
    if (scheme == Scheme::tq2) levels[i] = kLevels2[i % 4];
  }
  return levels;
}

/// Twice the centred levels, odd and in [-127, 127], as the bytes of int8. q8 has none.
constexpr NibbleLevels value_levels(Scheme scheme) {
  NibbleLevels levels = key_levels(scheme);
  for (std::uint8_t& level : levels) level = static_cast<std::uint8_t>(2 * level - 127);
  return levels;
}
static_assert(2 * KVAULT_TABLE_CENTRE == 127);

}  // namespace kvault::cpu
