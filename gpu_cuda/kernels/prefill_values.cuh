#pragma once

#include "gpu_cuda/kernels/prefill_attention.cuh"

// The second product of prefill_attention.cuh: a warp's dims of a page's values times the weights
// of all tokens and rows.

namespace kvault::cuda {

#define KVAULT_PREFILL_MEMBER           \
  template <u32 kKeyDim, u32 kValueDim> \
  KVAULT_DEVICE

KVAULT_PREFILL_MEMBER void PrefillAttention<kKeyDim, kValueDim>::rescale() {
  KVAULT_UNROLL
  for (u32 n = 0; n < kOwnTiles; ++n) {
    const u32 column = (own_tile() + n) * kColumns + lane_index() % 4 * 2;
    const float2 factor = load_pair(shared_.rescale[warp_index()] + column);
    KVAULT_UNROLL
    for (u32 i = 0; i < kOwnDims; ++i) {
      KVAULT_UNROLL
      for (u32 entry = 0; entry < 4; ++entry) {
        gathered_[i][n][entry] *= entry % 2 == 0 ? factor.x : factor.y;
      }
    }
  }
}

/// Levels around the centre, kLevelUnit times as small, of two of four bytes: exact.
template <bool kIsNibbles>
KVAULT_DEVICE u32 levels_as_halves(u32 bytes, u32 selector) {
  // Bytes are halves of units 2^-24; times 2^15, less 63.5 or 128 units of 2^-9.
  constexpr u32 kUnits = 0x78007800U;
  constexpr u32 kCentres = kIsNibbles ? 0xAFF0AFF0U : 0xB400B400U;
  return multiply_add_halves(permute_bytes(bytes, 0, selector), kUnits, kCentres);
}

/// The values of a tile of 32 tokens in the warp's dims, as fragments of 16 tokens each.
template <u32 kKeyDim, u32 kValueDim>
template <u32 kScheme>
KVAULT_DEVICE void PrefillAttention<kKeyDim, kValueDim>::decode_values(
    u32 tile, u32 (&values)[kOwnDims][2][4]) const {
  using Book = Codes<kScheme>;
  const Book book = shared_.tables.template codes<kScheme>();
  constexpr u32 kQuadBytes = kValueDim * KVAULT_QUAD_N_TOKEN * kCodeBits<kScheme> / 8;
  // The first and third token of a quad, then the others, as weights are transposed.
  constexpr u32 kEven = 0x4240U;
  constexpr u32 kOdd = 0x4341U;
  const u32 quad = tile * (kTileTokens / KVAULT_QUAD_N_TOKEN) + lane_index() % 4;
  const std::byte* const row = page_.value + quad * kQuadBytes;
  KVAULT_UNROLL
  for (u32 i = 0; i < kOwnDims; ++i) {
    const u32 word = value_word<kDimTiles>(lane_index() / 4, own_dim_tile() + i);
    KVAULT_UNROLL
    for (u32 m = 0; m < 2; ++m) {
      const auto* const words = reinterpret_cast<const u32*>(row + 4 * m * kQuadBytes);
      u32 low;
      u32 high;
      if constexpr (Book::kIsNibbles) {
        const u32 codes = load_word<kScheme>(words, word);
        book.decode(&codes, low, high);
      } else {
        const uint2 codes = reinterpret_cast<const uint2*>(words)[word];
        low = codes.x ^ 0x80808080U;
        high = codes.y ^ 0x80808080U;
      }
      values[i][m][0] = levels_as_halves<Book::kIsNibbles>(low, kEven);
      values[i][m][1] = levels_as_halves<Book::kIsNibbles>(high, kEven);
      values[i][m][2] = levels_as_halves<Book::kIsNibbles>(low, kOdd);
      values[i][m][3] = levels_as_halves<Book::kIsNibbles>(high, kOdd);
    }
  }
}

template <u32 kKeyDim, u32 kValueDim>
template <u32 kScheme>
KVAULT_DEVICE void PrefillAttention<kKeyDim, kValueDim>::add_values_of(bool rises) {
  KVAULT_NO_UNROLL
  for (u32 tile = 0; tile < kPageTiles; ++tile) {
    u32 values[kOwnDims][2][4];
    decode_values<kScheme>(tile, values);
    KVAULT_UNROLL
    for (u32 n = 0; n < kOwnTiles; ++n) {
      const u32 rows = own_tile() + n;
      uint4 weights = shared_.weights[tile][rows][lane_index()];
      if (counted(false, rises)) {
        const float one = shared_.factor[warp_index()][tile][rows * kColumns + lane_index() / 4];
        const u32 factor = round_to_halves(one, one);
        weights = {multiply_halves(weights.x, factor), multiply_halves(weights.y, factor),
                   multiply_halves(weights.z, factor), multiply_halves(weights.w, factor)};
      }
      KVAULT_UNROLL
      for (u32 i = 0; i < kOwnDims; ++i) {
        multiply_tile(gathered_[i][n], values[i][0], weights.x, weights.y);
        multiply_tile(gathered_[i][n], values[i][1], weights.z, weights.w);
      }
    }
  }
}

KVAULT_PREFILL_MEMBER void PrefillAttention<kKeyDim, kValueDim>::add_values(bool rises) {
  switch (counted_scheme(page_.value_format)) {
    case KVAULT_FORMAT_TQ4:
      return add_values_of<KVAULT_FORMAT_TQ4>(rises);
    case KVAULT_FORMAT_TQ3:
      return add_values_of<KVAULT_FORMAT_TQ3>(rises);
    case KVAULT_FORMAT_TQ2:
      return add_values_of<KVAULT_FORMAT_TQ2>(rises);
    default:
      return add_values_of<KVAULT_FORMAT_Q8>(rises);
  }
}

/// The mean of the page's values, as often as its tokens count.
KVAULT_PREFILL_MEMBER void PrefillAttention<kKeyDim, kValueDim>::add_mean() {
  const auto* const mean =
      reinterpret_cast<const u32*>(mean_of(page_.value, scheme_of(page_.value_format), kValueDim));
  KVAULT_UNROLL
  for (u32 i = 0; i < kOwnDims; ++i) {
    const u32 pair = mean[value_word<kDimTiles>(lane_index() / 4, own_dim_tile() + i)];
    const float first = half_as_float(static_cast<std::uint16_t>(pair)) / kLevelUnit;
    const float second = half_as_float(static_cast<std::uint16_t>(pair >> 16U)) / kLevelUnit;
    KVAULT_UNROLL
    for (u32 n = 0; n < kOwnTiles; ++n) {
      const u32 column = (own_tile() + n) * kColumns + lane_index() % 4 * 2;
      const float2 mass = load_pair(shared_.mass[warp_index()] + column);
      gathered_[i][n][0] += first * mass.x;
      gathered_[i][n][1] += first * mass.y;
      gathered_[i][n][2] += second * mass.x;
      gathered_[i][n][3] += second * mass.y;
    }
  }
}

#undef KVAULT_PREFILL_MEMBER

}  // namespace kvault::cuda
