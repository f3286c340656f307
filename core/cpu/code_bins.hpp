#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/layout/scheme.hpp"

namespace kvault::cpu {

/// The nearest code by bytes. With x = floor(2 u) in 0..255, u in units of levels, and bin b = x /
/// 16:
///
///   code = code_at[b] + (x > first[b]) + (x > second[b])
///
/// It is exact: the boundary between two codes is the middle of two integers, and no bin holds more
/// than two boundaries.
struct CodeBins {
  std::array<std::uint8_t, 16> code_at{};
  std::array<std::uint8_t, 16> first{};
  std::array<std::uint8_t, 16> second{};
  bool has_second = false;  ///< else no bin holds more than one boundary

  /// pre: a tq scheme
  static constexpr CodeBins of(Scheme scheme) {
    constexpr std::uint8_t kLevels4[] = {KVAULT_TQ4_TABLE};
    constexpr std::uint8_t kLevels3[] = {KVAULT_TQ3_TABLE};
    constexpr std::uint8_t kLevels2[] = {KVAULT_TQ2_TABLE};
    if (scheme == Scheme::tq4) return of(kLevels4);
    if (scheme == Scheme::tq3) return of(kLevels3);
    return of(kLevels2);
  }

 private:
  template <std::size_t kCode>
  static constexpr CodeBins of(const std::uint8_t (&levels)[kCode]) {
    constexpr std::uint8_t kNever = 255;
    CodeBins bins;
    bins.first.fill(kNever);
    bins.second.fill(kNever);
    for (std::size_t code = 1; code < kCode; ++code) {
      // u >= (level + previous) / 2  <=>  x >= level + previous
      const auto boundary = static_cast<std::uint32_t>(levels[code]) + levels[code - 1];
      const std::size_t bin = boundary / 16;
      const auto below = static_cast<std::uint8_t>(boundary - 1);
      if (bins.first[bin] == kNever) {
        bins.first[bin] = below;
      } else {
        bins.second[bin] = below;
        bins.has_second = true;
      }
      for (std::size_t later = bin + 1; later < 16; ++later) ++bins.code_at[later];
    }
    return bins;
  }
};

}  // namespace kvault::cpu
