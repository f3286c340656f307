#pragma once

#include "gpu_cuda/kernels/tensor_attention.cuh"

// The first product of tensor_attention.cuh: a tile of tokens times the digits of the queries, and
// what becomes of it: weights, as fragments of the second product.

namespace kvault::cuda {

/// Of the two digits of a probability: 256 * high + low, both signed bytes.
inline constexpr float kWeightMax = 127 * 256;

#define KVAULT_TENSOR_MEMBER                        \
  template <u32 kKeyDim, u32 kValueDim, bool kWide> \
  KVAULT_DEVICE

/// The dot products of the queries with the mean of the page's keys: a lane has some dims, then
/// lanes trade columns for dims.
KVAULT_TENSOR_MEMBER void TensorAttention<kKeyDim, kValueDim, kWide>::find_mean_products() {
  constexpr u32 kRows = 4 * kOwn;
  float parts[kRows] = {};
  if (is_centred(page_.key_format)) {
    const std::uint16_t* const mean =
        mean_of(page_.key, scheme_of(page_.key_format), params_.key_dim);
    KVAULT_UNROLL
    for (u32 step = 0; step < kSteps; ++step) {
      if constexpr (kIsTight) sync_warp();
      const u32 dim = step * kWarpThreads + lane_index();
      // What stands behind the last dim may be anything.
      const float entry = dim < params_.key_dim ? half_as_float(mean[dim]) : 0.0F;
      KVAULT_UNROLL
      for (u32 row = 0; row < kRows; ++row) parts[row] += entry * shared_.q[row * kKeyDim + dim];
    }
  }
  const bool is_high = (lane_index() & 2U) != 0;
  KVAULT_UNROLL
  for (u32 i = 0; i < kRows / 2; ++i) {
    const float sent = is_high ? parts[i] : parts[i + kRows / 2];
    const float kept = is_high ? parts[i + kRows / 2] : parts[i];
    parts[i] = kept + shuffle_xor(sent, 2);
  }
  const bool is_odd = (lane_index() & 1U) != 0;
  KVAULT_UNROLL
  for (u32 i = 0; i < kOwn; ++i) {
    const float sent = is_odd ? parts[i] : parts[i + kOwn];
    const float kept = is_odd ? parts[i + kOwn] : parts[i];
    mean_product_[i] = sum_of_column(kept + shuffle_xor(sent, 1));
  }
}

template <u32 kKeyDim, u32 kValueDim, bool kWide>
template <u32 kScheme>
KVAULT_DEVICE void TensorAttention<kKeyDim, kValueDim, kWide>::find_products_of(u32 tile) {
  using Book = Codes<kScheme>;
  const Book book = shared_.tables.template codes<kScheme>();
  constexpr u32 kRowBytes = kKeyDim * kCodeBits<kScheme> / 8;
  constexpr u32 kRun = kKeyRun<kSteps>;
  const u32 g = lane_index() / 4;
  KVAULT_UNROLL
  for (u32 m = 0; m < 2; ++m) {
    if constexpr (kIsTight) sync_warp();
    const std::byte* const row = page_.key + (tile * kTileTokens + 16 * m + 2 * g) * kRowBytes;
    int high[4] = {};
    int low[4] = {};
    KVAULT_NO_UNROLL
    for (u32 first = 0; first < kSteps; first += kRun) {
      if constexpr (kIsTight) sync_warp();
      u32 even[kRun * Book::kRegisters];
      u32 odd[kRun * Book::kRegisters];
      load_key<kScheme, kSteps>(row, first, even);
      load_key<kScheme, kSteps>(row + kRowBytes, first, odd);
      KVAULT_UNROLL
      for (u32 i = 0; i < kRun; ++i) {
        u32 a[4];
        book.decode(even + i * Book::kRegisters, a[0], a[2]);
        book.decode(odd + i * Book::kRegisters, a[1], a[3]);
        const u32* const digits = shared_.q_digits[first + i][lane_index()];
        multiply_tile<!Book::kIsNibbles>(high, a, digits[0], digits[1]);
        if constexpr (kWide) multiply_tile<!Book::kIsNibbles>(low, a, digits[2], digits[3]);
      }
    }
    KVAULT_UNROLL
    for (u32 half = 0; half < 2; ++half) {
      KVAULT_UNROLL
      for (u32 c = 0; c < kOwn; ++c) {
        const int centre = Book::kIsNibbles ? q_centre_[c] : 0;
        const int product = kWide ? 256 * high[2 * half + c] + low[2 * half + c]
                                  : 256 * high[2 * half] + high[2 * half + 1];
        products_[m][half][c] = product - centre;
      }
    }
  }
}

KVAULT_TENSOR_MEMBER void TensorAttention<kKeyDim, kValueDim, kWide>::find_products(u32 tile) {
  switch (counted_scheme(page_.key_format)) {
    case KVAULT_FORMAT_TQ4:
      return find_products_of<KVAULT_FORMAT_TQ4>(tile);
    case KVAULT_FORMAT_TQ3:
      return find_products_of<KVAULT_FORMAT_TQ3>(tile);
    case KVAULT_FORMAT_TQ2:
      return find_products_of<KVAULT_FORMAT_TQ2>(tile);
    default:
      return find_products_of<KVAULT_FORMAT_Q8>(tile);
  }
}

KVAULT_TENSOR_MEMBER void TensorAttention<kKeyDim, kValueDim, kWide>::find_logits(u32 tile,
                                                                                  u32 page_position,
                                                                                  bool sees_all) {
  const std::uint16_t* const scales =
      scales_of(page_.key, counted_scheme(page_.key_format), kKeyDim);
  KVAULT_UNROLL
  for (u32 m = 0; m < 2; ++m) {
    const u32 token = tile * kTileTokens + 16 * m + lane_index() / 4 * 2;
    const u32 pair = *reinterpret_cast<const u32*>(scales + token);
    KVAULT_UNROLL
    for (u32 half = 0; half < 2; ++half) {
      const float scale = half_as_float(static_cast<std::uint16_t>(pair >> (16 * half)));
      KVAULT_UNROLL
      for (u32 c = 0; c < kOwn; ++c) {
        float logit =
            static_cast<float>(products_[m][half][c]) * (key_step_[c] * scale) + mean_product_[c];
        if (counted(false, params_.softcap > 0)) logit = cap_logit(logit, params_.softcap);
        if (!sees_all && !view_.sees(own_column() + c, page_position + token + half)) {
          logit = kNothing;
        }
        logits_[m][half][c] = logit;
      }
    }
  }
}

/// The running maximum takes the tile in; what was summed before is made relative to it.
KVAULT_TENSOR_MEMBER void TensorAttention<kKeyDim, kValueDim, kWide>::raise_maximum() {
  float greatest[kOwn];
  bool rises = false;
  KVAULT_UNROLL
  for (u32 c = 0; c < kOwn; ++c) {
    greatest[c] = max_of_column(fmaxf(fmaxf(logits_[0][0][c], logits_[0][1][c]),
                                      fmaxf(logits_[1][0][c], logits_[1][1][c])));
    greatest[c] = fmaxf(greatest[c], maximum_[c]);
    rises = rises || greatest[c] > maximum_[c];
  }
  if (!any_lane(rises)) return;
  KVAULT_UNROLL
  for (u32 c = 0; c < kOwn; ++c) {
    const float rescale = exp2_fast(maximum_[c] - greatest[c]);
    maximum_[c] = greatest[c];
    sum_[c] *= rescale;
    page_sum_[c] *= rescale;
    weight_sum_[c] *= rescale;
    KVAULT_UNROLL
    for (u32 i = 0; i < kTiles; ++i) {
      gathered_[i][0][c] *= rescale;
      gathered_[i][1][c] *= rescale;
    }
  }
}

/// Logits become probabilities. False where the tile's values may be left out.
KVAULT_TENSOR_MEMBER bool TensorAttention<kKeyDim, kValueDim, kWide>::find_probabilities() {
  float mass[kOwn] = {};
  KVAULT_UNROLL
  for (u32 m = 0; m < 2; ++m) {
    KVAULT_UNROLL
    for (u32 half = 0; half < 2; ++half) {
      KVAULT_UNROLL
      for (u32 c = 0; c < kOwn; ++c) {
        logits_[m][half][c] = exp2_fast(logits_[m][half][c] - maximum_[c]);
        mass[c] += logits_[m][half][c];
      }
    }
  }
  KVAULT_UNROLL
  for (u32 c = 0; c < kOwn; ++c) sum_[c] += mass[c];
  if (counted(false, view_.sequence.sparse_share > 0)) {
    bool keeps = false;
    KVAULT_UNROLL
    for (u32 c = 0; c < kOwn; ++c) {
      const u32 column = own_column() + c;
      const float* const floor = params_.floors + (std::size_t{item_.tile} * kColumns + column) * 2;
      const float tile_mass = sum_of_column(mass[c]);
      const float sum = sum_of_column(sum_[c]);
      keeps = keeps || (column < view_.tile.n_row &&
                        !is_negligible(view_, floor, tile_mass, sum, maximum_[c], kTileTokens));
    }
    if (!any_lane(keeps)) return false;
  }
  KVAULT_UNROLL
  for (u32 c = 0; c < kOwn; ++c) page_sum_[c] += mass[c];
  return true;
}

/// Probabilities times the scales of the values become weights.
KVAULT_TENSOR_MEMBER void TensorAttention<kKeyDim, kValueDim, kWide>::scale_probabilities(
    u32 tile, bool sees_all) {
  const std::uint16_t* const scales =
      scales_of(page_.value, counted_scheme(page_.value_format), kValueDim);
  float greatest[kOwn] = {};
  KVAULT_UNROLL
  for (u32 m = 0; m < 2; ++m) {
    const u32 token = tile * kTileTokens + 16 * m + lane_index() / 4 * 2;
    const u32 pair = *reinterpret_cast<const u32*>(scales + token);
    KVAULT_UNROLL
    for (u32 half = 0; half < 2; ++half) {
      const float scale = half_as_float(static_cast<std::uint16_t>(pair >> (16 * half)));
      KVAULT_UNROLL
      for (u32 c = 0; c < kOwn; ++c) {
        float weight = logits_[m][half][c] * scale;
        // A scale past the valid length may be anything.
        if (!sees_all && !(logits_[m][half][c] > 0)) weight = 0;
        logits_[m][half][c] = weight;
        greatest[c] = fmaxf(greatest[c], weight);
      }
    }
  }
  KVAULT_UNROLL
  for (u32 c = 0; c < kOwn; ++c) {
    greatest[c] = max_of_column(greatest[c]);
    weight_unit_[c] = greatest[c] > 1e-30F ? kWeightMax * reciprocal_fast(greatest[c]) : 0.0F;
    tile_step_[c] = greatest[c] * (value_step_ / kWeightMax);
  }
}

/// Weights as integers of two digits, as fragments. The integers plus 128 stand in the low bits of
/// floats that are so large that they have no fraction: the second byte is the high digit, the
/// first the low one with its top bit turned.
KVAULT_TENSOR_MEMBER void TensorAttention<kKeyDim, kValueDim, kWide>::make_weights() {
  constexpr float kMagic = 12582912.0F + 128.0F;  // 1.5 * 2^23
  constexpr u32 kHighDigits = 0x0051U;
  constexpr u32 kLowDigits = 0x0040U;
  float sum[kOwn] = {};
  KVAULT_UNROLL
  for (u32 m = 0; m < 2; ++m) {
    u32 integers[2][kOwn];
    KVAULT_UNROLL
    for (u32 half = 0; half < 2; ++half) {
      KVAULT_UNROLL
      for (u32 c = 0; c < kOwn; ++c) {
        const float integer = fused_multiply_add(logits_[m][half][c], weight_unit_[c], kMagic);
        integers[half][c] = float_as_bits(integer);
        sum[c] += integer - kMagic;
      }
    }
    if constexpr (kWide) {
      const u32 even = permute_bytes(integers[0][0], integers[1][0], kLowDigits | 0x5100U);
      const u32 odd =
          permute_bytes(integers[0][kOwn - 1], integers[1][kOwn - 1], kLowDigits | 0x5100U);
      weights_[0][m] = transpose_pairs(permute_bytes(even, odd, 0x7632U));
      weights_[kWide ? 1 : 0][m] = transpose_pairs(permute_bytes(even, odd, 0x5410U) ^ 0x80808080U);
    } else {
      const u32 both = permute_bytes(integers[0][0], integers[1][0], kHighDigits | 0x4000U);
      weights_[0][m] = transpose_pairs(both ^ 0x80800000U);
    }
  }
  if (counted_scheme(page_.value_format) == KVAULT_FORMAT_Q8) return;
  KVAULT_UNROLL
  for (u32 c = 0; c < kOwn; ++c) weight_sum_[c] += sum[c] * tile_step_[c];
}

#undef KVAULT_TENSOR_MEMBER

}  // namespace kvault::cuda
