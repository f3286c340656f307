#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace kvault {

/// IEEE binary16 and bfloat16 as storage; arithmetic happens in float.
struct Half {
  std::uint16_t bits = 0;
  friend constexpr bool operator==(Half, Half) = default;
};
struct BFloat16 {
  std::uint16_t bits = 0;
  friend constexpr bool operator==(BFloat16, BFloat16) = default;
};

inline constexpr float kHalfMax = 65504.0F;
/// The least normal half, 2^-14: stored scales are never smaller, but for +0.
inline constexpr float kHalfMinNormal = 6.103515625e-05F;

/// Exact.
constexpr float to_float(Half h) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(h.bits & 0x8000U) << 16U;
  const std::uint32_t exponent = (h.bits >> 10U) & 0x1FU;
  std::uint32_t mantissa = h.bits & 0x3FFU;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13U));
  if (exponent != 0) {
    return std::bit_cast<float>(sign | ((exponent + 112U) << 23U) | (mantissa << 13U));
  }
  const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-08F;  // 2^-24
  return sign != 0 ? -magnitude : magnitude;
}

/// Round to nearest, ties to even; overflow becomes infinity, NaN stays NaN.
constexpr Half to_half(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16U) & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude >= 0x7F800000U) {
    const bool is_nan = magnitude > 0x7F800000U;
    return Half{static_cast<std::uint16_t>(sign | 0x7C00U | (is_nan ? 0x200U : 0U))};
  }
  if (magnitude >= 0x477FF000U) return Half{static_cast<std::uint16_t>(sign | 0x7C00U)};
  if (magnitude < 0x38800000U) {  // subnormal or zero: let the float adder round at 2^-24
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    const std::uint32_t code = std::bit_cast<std::uint32_t>(shifted) - 0x3F000000U;
    return Half{static_cast<std::uint16_t>(sign | code)};
  }
  const std::uint32_t odd = (magnitude >> 13U) & 1U;
  const std::uint32_t rounded = magnitude - 0x38000000U + 0xFFFU + odd;
  return Half{static_cast<std::uint16_t>(sign | (rounded >> 13U))};
}

/// Exact.
constexpr float to_float(BFloat16 b) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(b.bits) << 16U);
}

/// Round to nearest, ties to even; NaN stays NaN.
constexpr BFloat16 to_bfloat16(float value) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) {
    return BFloat16{static_cast<std::uint16_t>((bits >> 16U) | 0x40U)};
  }
  return BFloat16{static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U)};
}

}  // namespace kvault
