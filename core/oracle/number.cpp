#include <bit>
#include <cmath>
#include <limits>

#include "core/oracle/oracle.hpp"

namespace kvault::oracle {

double from_f16(std::uint16_t bits) {
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  const int exponent = (bits >> 10) & 0x1F;
  const int fraction = bits & 0x3FF;
  if (exponent == 31) {
    return fraction == 0 ? sign * std::numeric_limits<double>::infinity()
                         : std::numeric_limits<double>::quiet_NaN();
  }
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

double from_bf16(std::uint16_t bits) {
  return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16));
}

std::uint16_t to_f16(double value) {
  const unsigned sign = std::signbit(value) ? 0x8000U : 0U;
  const double size = std::fabs(value);
  unsigned rest = 0;
  if (std::isnan(value)) {
    rest = 0x7E00U;
  } else if (size >= 65520.0) {  // half a step past 65504
    rest = 0x7C00U;
  } else if (size < std::ldexp(1.0, -14)) {
    rest = static_cast<unsigned>(std::nearbyint(std::ldexp(size, 24)));
  } else {
    const int exponent = std::ilogb(size);
    // 1024..2048; 2048 carries into the exponent, as it should.
    const auto digits = static_cast<unsigned>(std::nearbyint(std::ldexp(size, 10 - exponent)));
    rest = (static_cast<unsigned>(exponent + 15) << 10) + digits - 1024U;
  }
  return static_cast<std::uint16_t>(sign | rest);
}

}  // namespace kvault::oracle
