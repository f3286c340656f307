#pragma once

#include "gpu_cuda/kernels/tensor_attention.cuh"

// The second product of tensor_attention.cuh: weights times a tile of values.

namespace kvault::cuda {

#define KVAULT_TENSOR_MEMBER                        \
  template <u32 kKeyDim, u32 kValueDim, bool kWide> \
  KVAULT_DEVICE

template <u32 kKeyDim, u32 kValueDim, bool kWide>
template <u32 kScheme>
KVAULT_DEVICE void TensorAttention<kKeyDim, kValueDim, kWide>::add_values_of(u32 tile) {
  using Book = Codes<kScheme>;
  const Book book = shared_.tables.template codes<kScheme>();
  constexpr u32 kQuadBytes = kValueDim * KVAULT_QUAD_N_TOKEN * kCodeBits<kScheme> / 8;
  constexpr u32 kRun = kValueRun<kTiles>;
  const u32 quad = tile * (kTileTokens / KVAULT_QUAD_N_TOKEN) + lane_index() % 4;
  const std::byte* const row = page_.value + quad * kQuadBytes;
  KVAULT_UNROLL
  for (u32 first = 0; first < kTiles; first += kRun) {
    if constexpr (kIsTight) sync_warp();
    u32 near[kRun * Book::kRegisters];
    u32 far[kRun * Book::kRegisters];
    load_value<kScheme, kTiles>(row, first, near);
    load_value<kScheme, kTiles>(row + 4 * kQuadBytes, first, far);
    KVAULT_UNROLL
    for (u32 i = 0; i < kRun; ++i) {
      u32 a[4];
      book.decode(near + i * Book::kRegisters, a[0], a[1]);
      book.decode(far + i * Book::kRegisters, a[2], a[3]);
      int high[4] = {};
      int low[4] = {};
      multiply_tile<!Book::kIsNibbles>(high, a, weights_[0][0], weights_[0][1]);
      if constexpr (kWide) {
        multiply_tile<!Book::kIsNibbles>(low, a, weights_[kWide ? 1 : 0][0],
                                         weights_[kWide ? 1 : 0][1]);
      }
      KVAULT_UNROLL
      for (u32 half = 0; half < 2; ++half) {
        KVAULT_UNROLL
        for (u32 c = 0; c < kOwn; ++c) {
          const int sum = kWide ? 256 * high[2 * half + c] + low[2 * half + c]
                                : 256 * high[2 * half] + high[2 * half + 1];
          gathered_[first + i][half][c] += static_cast<float>(sum) * tile_step_[c];
        }
      }
    }
  }
}

KVAULT_TENSOR_MEMBER void TensorAttention<kKeyDim, kValueDim, kWide>::add_values(u32 tile) {
  switch (counted_scheme(page_.value_format)) {
    case KVAULT_FORMAT_TQ4:
      return add_values_of<KVAULT_FORMAT_TQ4>(tile);
    case KVAULT_FORMAT_TQ3:
      return add_values_of<KVAULT_FORMAT_TQ3>(tile);
    case KVAULT_FORMAT_TQ2:
      return add_values_of<KVAULT_FORMAT_TQ2>(tile);
    default:
      return add_values_of<KVAULT_FORMAT_Q8>(tile);
  }
}

/// The mean of the page's values, as often as its tokens count.
KVAULT_TENSOR_MEMBER void TensorAttention<kKeyDim, kValueDim, kWide>::add_mean() {
  const auto* const mean =
      reinterpret_cast<const u32*>(mean_of(page_.value, scheme_of(page_.value_format), kValueDim));
  float mass[kOwn];
  KVAULT_UNROLL
  for (u32 c = 0; c < kOwn; ++c) mass[c] = sum_of_column(page_sum_[c]);
  KVAULT_UNROLL
  for (u32 i = 0; i < kTiles; ++i) {
    if constexpr (kIsTight) sync_warp();
    const u32 pair = mean[value_word<kTiles>(lane_index() / 4, i)];
    KVAULT_UNROLL
    for (u32 half = 0; half < 2; ++half) {
      const float entry = half_as_float(static_cast<std::uint16_t>(pair >> (16 * half)));
      KVAULT_UNROLL
      for (u32 c = 0; c < kOwn; ++c) gathered_[i][half][c] += entry * mass[c];
    }
  }
}

#undef KVAULT_TENSOR_MEMBER

}  // namespace kvault::cuda
