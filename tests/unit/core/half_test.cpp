#include "core/base/half.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "core/oracle/oracle.hpp"
#include "tests/support/random.hpp"

namespace kvault {
namespace {

TEST_CASE("half: every bit pattern survives float and back, and equals the oracle's number") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Half half{static_cast<std::uint16_t>(bits)};
    const float value = to_float(half);
    if (std::isnan(value)) {
      CHECK(std::isnan(to_float(to_half(value))));
      continue;
    }
    REQUIRE(to_half(value) == half);
    REQUIRE(static_cast<double>(value) == oracle::from_f16(half.bits));
  }
}

TEST_CASE("half: rounding is to nearest, ties to even, as the oracle rounds") {
  test::Random random(41);
  for (int i = 0; i < 200000; ++i) {
    const auto value =
        static_cast<float>(random.normal() * std::exp2(40.0 * random.uniform() - 26.0));
    REQUIRE(to_half(value).bits == oracle::to_f16(static_cast<double>(value)));
  }
  CHECK(to_half(65519.0F).bits == 0x7BFF);
  CHECK(to_half(65520.0F).bits == 0x7C00);
  CHECK(to_half(-std::numeric_limits<float>::infinity()).bits == 0xFC00);
  CHECK(to_half(2.98e-8F).bits == 0);
  CHECK(to_half(-0.0F).bits == 0x8000);
}

TEST_CASE("bfloat16: every finite pattern survives, ties go to even, NaN stays NaN") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const BFloat16 word{static_cast<std::uint16_t>(bits)};
    const float value = to_float(word);
    if (std::isnan(value)) {
      CHECK(std::isnan(to_float(to_bfloat16(value))));
    } else {
      REQUIRE(to_bfloat16(value) == word);
    }
  }
  CHECK(to_bfloat16(1.00390625F).bits == 0x3F80);  // half way between 0x3F80 and 0x3F81
  CHECK(to_bfloat16(1.01171875F).bits == 0x3F82);  // half way between 0x3F81 and 0x3F82
}

}  // namespace
}  // namespace kvault
