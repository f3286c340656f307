#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "sdk/adapters/llama/src/ggml_type.hpp"
#include "sdk/adapters/llama/src/row_layout.hpp"
#include "tests/support/random.hpp"

using namespace kvault;
using namespace kvault::llama;
using namespace kvault::test;

namespace {

GgmlType type_of(std::int32_t number) {
  const auto type = find_ggml_type(number);
  REQUIRE(type);
  return *type;
}

TEST_CASE("Packed rows come back byte for byte and hold no NaN and no infinity") {
  Random random(3);
  for (std::size_t n = 0; n < 400; ++n) {
    std::vector<std::byte> row(n);
    for (std::byte& byte : row) byte = static_cast<std::byte>(n % 3 == 0 ? 0xFF : random.next());
    std::vector<std::uint16_t> elements(packed_elements(n) + random.integer(0, 5), 0xFFFF);
    pack_row(row, elements);
    for (const std::uint16_t element : elements) {
      CHECK((element & 0x7C00U) != 0x7C00U);  // as f16
      CHECK((element & 0x7F80U) != 0x7F80U);  // as bf16
    }
    const auto size = packed_row_bytes(elements);
    REQUIRE(size);
    REQUIRE(*size == n);
    std::vector<std::byte> back(n);
    unpack_row(elements, back);
    CHECK(back == row);
  }
  const std::vector<std::uint16_t> lying = {to_element(1000), 0, 0};
  CHECK_FALSE(packed_row_bytes(lying));
  CHECK_FALSE(packed_row_bytes({}));
}

TEST_CASE("The rotation is the Hadamard matrix of signs (-1)^popcount(i & j) over sqrt(n)") {
  Random random(5);
  for (const std::size_t size : {64U, 128U}) {
    const std::vector<float> values = random.normals(2 * size);
    std::vector<float> rotated = values;
    rotate_rows(rotated, size);
    for (std::size_t run = 0; run < values.size(); run += size) {
      for (std::size_t i = 0; i < size; ++i) {
        double sum = 0;
        for (std::size_t j = 0; j < size; ++j) {
          const int sign = __builtin_popcountll(i & j) % 2 == 0 ? 1 : -1;
          sum += sign * static_cast<double>(values[run + j]);
        }
        CHECK(static_cast<double>(rotated[run + i]) ==
              doctest::Approx(sum / std::sqrt(static_cast<double>(size))).epsilon(1e-5));
      }
    }
    rotate_rows(rotated, size);
    for (std::size_t i = 0; i < values.size(); ++i) {
      CHECK(rotated[i] == doctest::Approx(values[i]).epsilon(1e-5));
    }
  }
}

TEST_CASE("Quantised rows are within half a step and are kept when they are quantised again") {
  Random random(8);
  for (const std::int32_t number : {kGgmlQ8_0, kGgmlQ4_0}) {
    const GgmlType type = type_of(number);
    const std::vector<float> values = random.normals(256, 3);
    std::vector<std::byte> row(type.row_bytes(values.size()));
    encode_row(type, values, row);
    std::vector<float> decoded(values.size());
    decode_row(type, row, decoded);
    for (std::size_t first = 0; first < values.size(); first += 32) {
      float largest = 0;
      for (std::size_t i = first; i < first + 32; ++i) {
        largest = std::max(largest, std::fabs(values[i]));
      }
      const float step = number == kGgmlQ8_0 ? largest / 127 : largest / 8;
      for (std::size_t i = first; i < first + 32; ++i) {
        // q4_0 has no code for +8 steps: there the error may be a whole step.
        const float bound = number == kGgmlQ8_0 ? 0.51F * step : 1.01F * step;
        CHECK(std::fabs(decoded[i] - values[i]) <= bound + largest * 0.001F);
      }
    }
  }
}

TEST_CASE("A layout's text says all of it, and anything else is refused") {
  for (const bool is_natural : {true, false}) {
    for (const std::uint32_t ext : {0U, 8U, 12U}) {
      const RowLayout layout{.is_natural = is_natural,
                             .key = {type_of(kGgmlQ8_0), 128},
                             .value = {type_of(kGgmlF16), 0},
                             .ext_bytes = ext};
      const auto read = RowLayout::parse(layout.text());
      REQUIRE(read);
      CHECK(read->is_natural == is_natural);
      CHECK(read->key == layout.key);
      CHECK(read->value == layout.value);
      CHECK(read->ext_bytes == ext);
    }
  }
  for (const char* text :
       {"", "numbers", "numbers, keys f16 0, values f16 0",
        "numbers, keys f17 0, values f16 0, ext 0", "numbers, keys f16 x, values f16 0, ext 0",
        "numbers, keys f16 0, values f16 0, ext 9", "others, keys f16 0, values f16 0, ext 0"}) {
    CAPTURE(text);
    CHECK_FALSE(RowLayout::parse(text));
  }
}

TEST_CASE("Quantised heads of 64 and 128 are rotated, others are not") {
  const GgmlType q8 = type_of(kGgmlQ8_0);
  const GgmlType f16 = type_of(kGgmlF16);
  CHECK(rotation_of(q8, q8, 64, 64) == Rotation{64, 64});
  CHECK(rotation_of(q8, q8, 128, 128) == Rotation{128, 64});
  CHECK(rotation_of(q8, q8, 192, 128) == Rotation{64, 64});
  CHECK(rotation_of(q8, q8, 32, 80) == Rotation{0, 0});
  CHECK(rotation_of(f16, q8, 128, 128) == Rotation{0, 64});
}

}  // namespace
