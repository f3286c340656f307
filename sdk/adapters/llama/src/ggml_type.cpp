#include "sdk/adapters/llama/src/ggml_type.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "core/base/assert.hpp"
#include "core/base/half.hpp"

namespace kvault::llama {
namespace {

constexpr std::size_t kBlock = 32;

constexpr std::array<GgmlType, 9> kTypes = {{
    {kGgmlF32, "f32", 1, 4, false, true},
    {kGgmlF16, "f16", 1, 2, false, true},
    {kGgmlQ4_0, "q4_0", 32, 18, true, true},
    {3, "q4_1", 32, 20, true, false},
    {6, "q5_0", 32, 22, true, false},
    {7, "q5_1", 32, 24, true, false},
    {kGgmlQ8_0, "q8_0", 32, 34, true, true},
    {20, "iq4_nl", 32, 18, true, false},
    {kGgmlBf16, "bf16", 1, 2, false, true},
}};

template <class T>
T load(const std::byte* from) {
  T value{};
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class T>
void store(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

void decode_q8_0(const std::byte* row, std::span<float> values) {
  for (std::size_t i = 0; i < values.size(); i += kBlock, row += 34) {
    const float scale = to_float(load<Half>(row));
    for (std::size_t j = 0; j < kBlock; ++j) {
      values[i + j] = scale * static_cast<float>(load<std::int8_t>(row + 2 + j));
    }
  }
}

void decode_q4_0(const std::byte* row, std::span<float> values) {
  constexpr std::size_t kHalfBlock = kBlock / 2;
  for (std::size_t i = 0; i < values.size(); i += kBlock, row += 18) {
    const float scale = to_float(load<Half>(row));
    for (std::size_t j = 0; j < kHalfBlock; ++j) {
      const auto pair = static_cast<unsigned>(row[2 + j]);
      values[i + j] = scale * static_cast<float>(static_cast<int>(pair & 15U) - 8);
      values[i + kHalfBlock + j] = scale * static_cast<float>(static_cast<int>(pair >> 4U) - 8);
    }
  }
}

void encode_q8_0(std::span<const float> values, std::byte* row) {
  for (std::size_t i = 0; i < values.size(); i += kBlock, row += 34) {
    float largest = 0;
    for (std::size_t j = 0; j < kBlock; ++j) largest = std::max(largest, std::fabs(values[i + j]));
    const float scale = largest / 127.0F;
    const float inverse = scale != 0 ? 1.0F / scale : 0.0F;
    store(row, to_half(scale));
    for (std::size_t j = 0; j < kBlock; ++j) {
      store(row + 2 + j, static_cast<std::int8_t>(std::round(values[i + j] * inverse)));
    }
  }
}

void encode_q4_0(std::span<const float> values, std::byte* row) {
  constexpr std::size_t kHalfBlock = kBlock / 2;
  for (std::size_t i = 0; i < values.size(); i += kBlock, row += 18) {
    float extreme = 0;  // of the largest magnitude, with its sign
    for (std::size_t j = 0; j < kBlock; ++j) {
      if (std::fabs(values[i + j]) > std::fabs(extreme)) extreme = values[i + j];
    }
    const float scale = extreme / -8.0F;
    const float inverse = scale != 0 ? 1.0F / scale : 0.0F;
    const auto code = [&](std::size_t j) {
      return std::min(15U, static_cast<unsigned>(values[i + j] * inverse + 8.5F));
    };
    store(row, to_half(scale));
    for (std::size_t j = 0; j < kHalfBlock; ++j) {
      row[2 + j] = static_cast<std::byte>(code(j) | (code(kHalfBlock + j) << 4U));
    }
  }
}

BFloat16 to_bfloat16_nearest(float value) {
  auto bits = std::bit_cast<std::uint32_t>(value);
  bits += 0x7FFFU + ((bits >> 16U) & 1U);  // to nearest, ties to even; rows are finite
  return {static_cast<std::uint16_t>(bits >> 16U)};
}

}  // namespace

Result<GgmlType> find_ggml_type(std::int32_t number) {
  const auto* const found =
      std::find_if(kTypes.begin(), kTypes.end(),
                   [number](const GgmlType& type) { return type.number == number; });
  if (found != kTypes.end()) return *found;
  return fail(Errc::unknown_format, message("ggml type ", number, " is no known type of a cache"));
}

void decode_row(const GgmlType& type, std::span<const std::byte> row, std::span<float> values) {
  KVAULT_ASSERT(type.can_convert && row.size() == type.row_bytes(values.size()));
  if (type.number == kGgmlQ8_0) return decode_q8_0(row.data(), values);
  if (type.number == kGgmlQ4_0) return decode_q4_0(row.data(), values);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::byte* const at = row.data() + i * type.block_bytes;
    if (type.number == kGgmlF32) {
      values[i] = load<float>(at);
    } else {
      values[i] = type.number == kGgmlF16 ? to_float(load<Half>(at)) : to_float(load<BFloat16>(at));
    }
  }
}

void encode_row(const GgmlType& type, std::span<const float> values, std::span<std::byte> row) {
  KVAULT_ASSERT(type.can_convert && row.size() == type.row_bytes(values.size()));
  if (type.number == kGgmlQ8_0) return encode_q8_0(values, row.data());
  if (type.number == kGgmlQ4_0) return encode_q4_0(values, row.data());
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::byte* const at = row.data() + i * type.block_bytes;
    if (type.number == kGgmlF32) {
      store(at, values[i]);
    } else if (type.number == kGgmlF16) {
      store(at, to_half(std::clamp(values[i], -kHalfMax, kHalfMax)));
    } else {
      store(at, to_bfloat16_nearest(values[i]));
    }
  }
}

void rotate_rows(std::span<float> values, std::size_t size) {
  KVAULT_ASSERT(std::has_single_bit(size) && values.size() % size == 0);
  const float norm = 1.0F / std::sqrt(static_cast<float>(size));
  for (std::size_t run = 0; run < values.size(); run += size) {
    float* const at = values.data() + run;
    for (std::size_t half = 1; half < size; half *= 2) {
      for (std::size_t i = 0; i < size; i += 2 * half) {
        for (std::size_t j = i; j < i + half; ++j) {
          const float a = at[j];
          const float b = at[j + half];
          at[j] = a + b;
          at[j + half] = a - b;
        }
      }
    }
    for (std::size_t i = 0; i < size; ++i) at[i] *= norm;
  }
}

}  // namespace kvault::llama
