#pragma once

#include <cuda_fp16.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "tests/cuda_emulator/thread_block.hpp"

// The machine of gpu_cuda/kernels/machine.cuh on a CPU. What a warp does together happens once all
// of its lanes have come to it.

using std::max;
using std::min;

namespace kvault::cuda {

inline std::uint32_t thread_index() { return emulator::current().thread; }
inline std::uint32_t n_thread() { return emulator::current().block->n_thread(); }
inline std::uint32_t block_index() { return emulator::current().block->block_index(); }
inline std::uint32_t n_block() { return emulator::current().block->n_block(); }
inline void sync_block() { emulator::current().block->sync_block(); }
inline void sync_warp() { (void)emulator::exchange("sync_warp", {}); }
inline unsigned char* shared_memory() { return emulator::current().block->shared_memory(); }

inline std::uint32_t shuffle_xor(std::uint32_t value, int mask) {
  const auto& lanes = emulator::exchange("shuffle_xor", {value});
  return lanes[(thread_index() % 32) ^ static_cast<std::uint32_t>(mask)][0];
}
inline float shuffle_xor(float value, int mask) {
  return std::bit_cast<float>(shuffle_xor(std::bit_cast<std::uint32_t>(value), mask));
}
inline bool any_lane(bool value) {
  const auto& lanes = emulator::exchange("any_lane", {value ? 1U : 0U});
  return std::ranges::any_of(lanes, [](const auto& lane) { return lane[0] != 0; });
}

inline std::uint32_t permute_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
  const std::uint64_t bytes = a | (std::uint64_t{b} << 32U);
  std::uint32_t result = 0;
  for (std::uint32_t i = 0; i < 4; ++i) {
    const std::uint32_t choice = (selector >> (4 * i)) & 15U;
    std::uint32_t byte = static_cast<std::uint32_t>(bytes >> (8 * (choice & 7U))) & 0xFFU;
    if ((choice & 8U) != 0) byte = (byte & 0x80U) != 0 ? 0xFFU : 0U;
    result |= byte << (8 * i);
  }
  return result;
}

/// PTX ISA, "Matrix Fragments for mma.m16n8k32": row g of a lies in the lanes 4g..4g+3, its words
/// hold four neighbouring columns; column g of b likewise.
template <bool kSigned>
void multiply_tile(int (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  const auto& lanes = emulator::exchange("multiply_tile", {a[0], a[1], a[2], a[3], b0, b1});
  const std::uint32_t lane = thread_index() % 32;
  const auto byte_of = [](std::uint32_t word, std::uint32_t i) {
    return (word >> (8 * i)) & 0xFFU;
  };
  for (std::uint32_t entry = 0; entry < 4; ++entry) {
    const std::uint32_t row = lane / 4 + (entry >= 2 ? 8 : 0);
    const std::uint32_t column = lane % 4 * 2 + entry % 2;
    std::int32_t sum = c[entry];
    for (std::uint32_t k = 0; k < 32; ++k) {
      const auto& a_lane = lanes[row % 8 * 4 + k % 16 / 4];
      const std::uint32_t a_byte = byte_of(a_lane[(row >= 8 ? 1 : 0) + (k >= 16 ? 2 : 0)], k % 4);
      const std::uint32_t b_byte = byte_of(lanes[column * 4 + k % 16 / 4][k >= 16 ? 5 : 4], k % 4);
      const std::int32_t left =
          kSigned ? static_cast<std::int8_t>(a_byte) : static_cast<std::int32_t>(a_byte);
      sum += left * static_cast<std::int8_t>(b_byte);
    }
    c[entry] = sum;
  }
}

inline float low_half(std::uint32_t pair) {
  return __half2float(__ushort_as_half(static_cast<std::uint16_t>(pair)));
}
inline float high_half(std::uint32_t pair) { return low_half(pair >> 16U); }
inline std::uint32_t round_to_halves(float first, float second) {
  const std::uint32_t low = __half_as_ushort(__float2half_rn(first));
  return low | std::uint32_t{__half_as_ushort(__float2half_rn(second))} << 16U;
}
inline std::uint32_t multiply_add_halves(std::uint32_t a, std::uint32_t b, std::uint32_t c) {
  return round_to_halves(std::fma(low_half(a), low_half(b), low_half(c)),
                         std::fma(high_half(a), high_half(b), high_half(c)));
}
inline std::uint32_t multiply_halves(std::uint32_t a, std::uint32_t b) {
  return round_to_halves(low_half(a) * low_half(b), high_half(a) * high_half(b));
}

/// PTX ISA, "Matrix Fragments for mma.m16n8k16" of halves.
inline void multiply_tile(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                          std::uint32_t b1) {
  const auto& lanes = emulator::exchange("multiply_tile", {a[0], a[1], a[2], a[3], b0, b1});
  const std::uint32_t lane = thread_index() % 32;
  const auto entry_of = [](std::uint32_t pair, std::uint32_t k) {
    return k % 2 == 0 ? low_half(pair) : high_half(pair);
  };
  for (std::uint32_t entry = 0; entry < 4; ++entry) {
    const std::uint32_t row = lane / 4 + (entry >= 2 ? 8 : 0);
    const std::uint32_t column = lane % 4 * 2 + entry % 2;
    for (std::uint32_t k = 0; k < 16; ++k) {
      const auto& a_lane = lanes[row % 8 * 4 + k % 8 / 2];
      const auto& b_lane = lanes[column * 4 + k % 8 / 2];
      c[entry] += entry_of(a_lane[(row >= 8 ? 1 : 0) + (k >= 8 ? 2 : 0)], k) *
                  entry_of(b_lane[k >= 8 ? 5 : 4], k);
    }
  }
}

inline std::uint32_t transpose_pairs(std::uint32_t pair) {
  const auto& lanes = emulator::exchange("transpose_pairs", {pair});
  const std::uint32_t lane = thread_index() % 32;
  const auto entry = [&](std::uint32_t row, std::uint32_t column) {
    return (lanes[row * 4 + column / 2][0] >> (16 * (column % 2))) & 0xFFFFU;
  };
  const std::uint32_t row = lane / 4;
  const std::uint32_t column = lane % 4 * 2;
  return entry(column, row) | (entry(column + 1, row) << 16U);
}

inline float fused_multiply_add(float a, float b, float c) { return std::fma(a, b, c); }
inline float multiply_add_saturated(float a, float b, float c) {
  const float result = std::fma(a, b, c);
  return result > 0 ? std::min(result, 1.0F) : 0.0F;
}
inline float multiply_add_down(float a, float b, float c) {
  const float nearest = std::fma(a, b, c);
  // What rounding left out; exact where c is of the result's size.
  const bool was_less = std::fma(a, b, c - nearest) < 0;
  return was_less ? std::nextafter(nearest, -INFINITY) : nearest;
}
inline std::uint32_t load_shared_word(const std::uint32_t* first, std::uint32_t offset_bytes) {
  std::uint32_t word = 0;
  std::memcpy(&word, reinterpret_cast<const std::byte*>(first) + offset_bytes, sizeof(word));
  return word;
}
inline std::uint32_t shift_pair(std::uint32_t high, std::uint32_t low, std::uint32_t n) {
  return static_cast<std::uint32_t>(((std::uint64_t{high} << 32U) | low) >> n);
}
inline float reciprocal_root_fast(float x) { return 1 / std::sqrt(x); }
inline float reciprocal_fast(float x) { return 1 / x; }

/// Reads, so that an address that is none shows.
inline void prefetch(const void* address) {
  (void)*static_cast<const volatile unsigned char*>(address);
}

inline float exp2_fast(float x) {
  const float result = std::exp2(x);
  return result < 0x1p-126F ? 0.0F : result;
}

}  // namespace kvault::cuda
