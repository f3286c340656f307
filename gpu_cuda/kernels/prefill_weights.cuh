#pragma once

#include "gpu_cuda/kernels/prefill_attention.cuh"

// The first product of prefill_attention.cuh: a warp's 32 tokens of a page times the digits of all
// rows, and what becomes of it: weights, as fragments of the second product.

namespace kvault::cuda {

/// Weights of four tokens, had they the greatest of the scales, sum up to at most this, and halves
/// end at 65504; after the reference was raised the greatest weight is at most 2^kRaisedExponent.
inline constexpr float kWeightLimit = 16384;
inline constexpr float kRaisedExponent = 8;
/// Probabilities of four tokens likewise, where values of scale 0 would allow any.
inline constexpr float kProbabilityLimit = 0x1p60F;
/// What a reference takes a scale of values to be at least.
inline constexpr float kLeastScale = 1e-12F;
#define KVAULT_PREFILL_MEMBER           \
  template <u32 kKeyDim, u32 kValueDim> \
  KVAULT_DEVICE

/// Of eight rows of which every lane has a part, the sum of row lane / 4.
KVAULT_DEVICE float sum_of_row(float (&parts)[kColumns]) {
  KVAULT_UNROLL
  for (u32 n = kColumns / 2; n > 0; n /= 2) {
    const bool is_high = (lane_index() & (4 * n)) != 0;
    KVAULT_UNROLL
    for (u32 i = 0; i < kColumns / 2; ++i) {
      if (i >= n) continue;
      const float sent = is_high ? parts[i] : parts[i + n];
      const float kept = is_high ? parts[i + n] : parts[i];
      parts[i] = kept + shuffle_xor(sent, static_cast<int>(4 * n));
    }
  }
  parts[0] += shuffle_xor(parts[0], 2);
  return parts[0] + shuffle_xor(parts[0], 1);
}

/// The dot products of the rows with the mean of the page's keys: a warp has some tiles and a lane
/// some dims, then lanes trade rows for dims.
KVAULT_PREFILL_MEMBER void PrefillAttention<kKeyDim, kValueDim>::find_mean_products() {
  const std::uint16_t* const mean =
      mean_of(page_.key, scheme_of(page_.key_format), params_.key_dim);
  float entries[kSteps];
  KVAULT_UNROLL
  for (u32 i = 0; i < kSteps; ++i) {
    const u32 dim = lane_index() * kSteps + i;
    // What stands behind the last dim may be anything.
    entries[i] = dim < params_.key_dim ? half_as_float(mean[dim]) : 0.0F;
  }
  KVAULT_NO_UNROLL
  for (u32 tile = warp_index(); tile < item_.n_tile; tile += kAttendWarps) {
    const float* const q = params_.q_rotated + std::size_t{item_.tile + tile} * kColumns * kKeyDim +
                           lane_index() * kSteps;
    float parts[kColumns] = {};
    KVAULT_UNROLL
    for (u32 row = 0; row < kColumns; ++row) {
      u32 words[kSteps];
      load_words<kSteps, kSteps>(reinterpret_cast<const u32*>(q + row * kKeyDim), words);
      KVAULT_UNROLL
      for (u32 i = 0; i < kSteps; ++i) parts[row] += entries[i] * bits_as_float(words[i]);
    }
    const float product = sum_of_row(parts);
    if (lane_index() % 4 == 0) {
      shared_.mean_product[tile * kColumns + lane_index() / 4] = product;
    }
  }
}

template <u32 kKeyDim, u32 kValueDim>
template <u32 kScheme>
KVAULT_DEVICE void PrefillAttention<kKeyDim, kValueDim>::decode_keys_of(
    u32 (&keys)[2][kSteps][4]) const {
  using Book = Codes<kScheme>;
  const Book book = shared_.tables.template codes<kScheme>();
  constexpr u32 kRowBytes = kKeyDim * kCodeBits<kScheme> / 8;
  constexpr u32 kRun = kKeyRun<kSteps>;
  KVAULT_UNROLL
  for (u32 m = 0; m < 2; ++m) {
    const u32 token = warp_index() * kTileTokens + 16 * m + lane_index() / 4 * 2;
    const std::byte* const row = page_.key + token * kRowBytes;
    KVAULT_UNROLL
    for (u32 first = 0; first < kSteps; first += kRun) {
      u32 even[kRun * Book::kRegisters];
      u32 odd[kRun * Book::kRegisters];
      load_key<kScheme, kSteps>(row, first, even);
      load_key<kScheme, kSteps>(row + kRowBytes, first, odd);
      KVAULT_UNROLL
      for (u32 i = 0; i < kRun; ++i) {
        u32(&a)[4] = keys[m][first + i];
        book.decode(even + i * Book::kRegisters, a[0], a[2]);
        book.decode(odd + i * Book::kRegisters, a[1], a[3]);
      }
    }
  }
}

/// Levels of the warp's keys, as fragments; those of nibbles are signed bytes too.
KVAULT_PREFILL_MEMBER void PrefillAttention<kKeyDim, kValueDim>::decode_keys(
    u32 (&keys)[2][kSteps][4]) const {
  switch (counted_scheme(page_.key_format)) {
    case KVAULT_FORMAT_TQ4:
      return decode_keys_of<KVAULT_FORMAT_TQ4>(keys);
    case KVAULT_FORMAT_TQ3:
      return decode_keys_of<KVAULT_FORMAT_TQ3>(keys);
    case KVAULT_FORMAT_TQ2:
      return decode_keys_of<KVAULT_FORMAT_TQ2>(keys);
    default:
      return decode_keys_of<KVAULT_FORMAT_Q8>(keys);
  }
}

KVAULT_PREFILL_MEMBER void PrefillAttention<kKeyDim, kValueDim>::load_scales() {
  const u32 key_scheme = counted_scheme(page_.key_format);
  const u32 value_scheme = counted_scheme(page_.value_format);
  const float key_step = level_step(key_scheme, params_.key_unit);
  const float value_step = level_step(value_scheme, params_.value_unit);
  const std::uint16_t* const key_scales = scales_of(page_.key, key_scheme, kKeyDim);
  const std::uint16_t* const value_scales = scales_of(page_.value, value_scheme, kValueDim);
  float greatest = kWeightLimit / kProbabilityLimit;
  KVAULT_UNROLL
  for (u32 m = 0; m < 2; ++m) {
    const u32 token = warp_index() * kTileTokens + 16 * m + lane_index() / 4 * 2;
    const u32 keys = *reinterpret_cast<const u32*>(key_scales + token);
    const u32 values = *reinterpret_cast<const u32*>(value_scales + token);
    KVAULT_UNROLL
    for (u32 half = 0; half < 2; ++half) {
      const auto key = static_cast<std::uint16_t>(keys >> (16 * half));
      const auto value = static_cast<std::uint16_t>(values >> (16 * half));
      key_scale_[m][half] = half_as_float(key) * key_step;
      value_scale_[m][half] = half_as_float(value) * value_step;
      greatest = fmaxf(greatest, value_scale_[m][half]);
    }
  }
  limit_ = kWeightLimit * reciprocal_fast(greatest);
}

/// Weights and sums of the warp's 32 tokens for all rows.
KVAULT_PREFILL_MEMBER void PrefillAttention<kKeyDim, kValueDim>::find_page_weights(
    u32 page_position) {
  u32 keys[2][kSteps][4];
  decode_keys(keys);
  load_scales();
  const bool sees_all = counted(true, shared_.view.sees_all_of(page_position));
  KVAULT_NO_UNROLL
  for (u32 tile = 0; tile < item_.n_tile; ++tile) {
    const u32 column = tile * kColumns + lane_index() % 4 * 2;
    Columns columns;
    find_products(tile, keys, columns);
    const float2 reference = load_pair(shared_.reference + column);
    columns.reference[0] = reference.x;
    columns.reference[1] = reference.y;
    columns.hidden = sees_all ? 0 : find_hidden(column, page_position);
    if (counted(false, params_.softcap > 0)) cap_logits(columns);
    find_weights(columns);
    if (any_lane(!fits(columns, 0) || !fits(columns, 1))) {
      if (counted(false, true)) raise_references(columns);
      if (counted(true, false)) columns.sum[0] = 0;
    }
    store_weights(tile, columns);
  }
}

KVAULT_PREFILL_MEMBER void PrefillAttention<kKeyDim, kValueDim>::find_products(
    u32 tile, const u32 (&keys)[2][kSteps][4], Columns& columns) const {
  const u32 column = tile * kColumns + lane_index() % 4 * 2;
  const bool is_offset = counted_scheme(page_.key_format) != KVAULT_FORMAT_Q8;
  const float2 centre = load_pair(shared_.q_centre + column);
  const int first = is_offset ? -static_cast<int>(float_as_bits(centre.x)) : 0;
  const int second = is_offset ? -static_cast<int>(float_as_bits(centre.y)) : 0;
  int high[2][4] = {};
  int low[2][4] = {{first, second, first, second}, {first, second, first, second}};
  KVAULT_UNROLL
  for (u32 step = 0; step < kSteps; ++step) {
    const uint4 digits = shared_.q_digits[tile][step][lane_index()];
    KVAULT_UNROLL
    for (u32 m = 0; m < 2; ++m) {
      multiply_tile<true>(high[m], keys[m][step], digits.x, digits.y);
      multiply_tile<true>(low[m], keys[m][step], digits.z, digits.w);
    }
  }
  KVAULT_UNROLL
  for (u32 m = 0; m < 2; ++m) {
    KVAULT_UNROLL
    for (u32 half = 0; half < 2; ++half) {
      KVAULT_UNROLL
      for (u32 c = 0; c < 2; ++c) {
        const int product = 256 * high[m][2 * half + c] + low[m][2 * half + c];
        columns.logits[m][half][c] = static_cast<float>(product) * key_scale_[m][half];
      }
    }
  }
  const bool has_mean = is_centred(page_.key_format);
  const float2 rate = load_pair(shared_.q_step + column);
  const float2 offset = load_pair(shared_.mean_product + column);
  columns.rate[0] = rate.x;
  columns.rate[1] = rate.y;
  columns.offset[0] = has_mean ? offset.x : 0.0F;
  columns.offset[1] = has_mean ? offset.y : 0.0F;
}

KVAULT_PREFILL_MEMBER void PrefillAttention<kKeyDim, kValueDim>::cap_logits(
    Columns& columns) const {
  KVAULT_UNROLL
  for (u32 c = 0; c < 2; ++c) {
    KVAULT_UNROLL
    for (u32 i = 0; i < 4; ++i) {
      float& logit = columns.logits[i / 2][i % 2][c];
      logit = cap_logit(columns.rate[c] * logit + columns.offset[c], params_.softcap);
    }
    columns.rate[c] = 1;
    columns.offset[c] = 0;
  }
}

KVAULT_PREFILL_MEMBER u32
PrefillAttention<kKeyDim, kValueDim>::find_hidden(u32 column, u32 page_position) const {
  u32 hidden = 0;
  KVAULT_UNROLL
  for (u32 i = 0; i < 8; ++i) {
    const u32 token = warp_index() * kTileTokens + 16 * (i / 4) + lane_index() / 4 * 2 + i / 2 % 2;
    if (!shared_.view.sees(column + i % 2, page_position + token)) hidden |= 1U << i;
  }
  return hidden;
}

KVAULT_PREFILL_MEMBER void PrefillAttention<kKeyDim, kValueDim>::find_weights(
    Columns& columns) const {
  float offset[2];
  KVAULT_UNROLL
  for (u32 c = 0; c < 2; ++c) {
    offset[c] = columns.offset[c] - columns.reference[c];
    columns.sum[c] = 0;
  }
  KVAULT_UNROLL
  for (u32 m = 0; m < 2; ++m) {
    KVAULT_UNROLL
    for (u32 half = 0; half < 2; ++half) {
      float weights[2];
      KVAULT_UNROLL
      for (u32 c = 0; c < 2; ++c) {
        float probability =
            exp2_fast(fused_multiply_add(columns.logits[m][half][c], columns.rate[c], offset[c]));
        float weight = probability * value_scale_[m][half];
        // What is past the valid length may be anything.
        if ((columns.hidden >> (4 * m + 2 * half + c) & 1U) != 0) probability = weight = 0;
        columns.sum[c] += probability;
        weights[c] = weight;
      }
      columns.weights[m][half] = round_to_halves(weights[0], weights[1]);
    }
  }
}

/// The references of columns that do not fit become those of the tile, and all weights are found
/// again.
KVAULT_PREFILL_MEMBER void PrefillAttention<kKeyDim, kValueDim>::raise_references(
    Columns& columns) const {
  KVAULT_UNROLL
  for (u32 c = 0; c < 2; ++c) {
    const bool rises = max_of_column(fits(columns, c) ? 0.0F : 1.0F) > 0;
    float logits[4];
    float greatest = kNothing;
    KVAULT_UNROLL
    for (u32 i = 0; i < 4; ++i) {
      const bool is_hidden = (columns.hidden >> (2 * i + c) & 1U) != 0;
      logits[i] = columns.logits[i / 2][i % 2][c] * columns.rate[c] + columns.offset[c];
      if (is_hidden) logits[i] = kNothing;
      greatest = fmaxf(greatest, logits[i]);
    }
    greatest = max_of_column(greatest);
    float weight = 0;
    KVAULT_UNROLL
    for (u32 i = 0; i < 4; ++i) {
      const bool is_hidden = (columns.hidden >> (2 * i + c) & 1U) != 0;
      const float scale = is_hidden ? 0.0F : fmaxf(value_scale_[i / 2][i % 2], kLeastScale);
      weight = fmaxf(weight, exp2_fast(logits[i] - greatest) * scale);
    }
    weight = max_of_column(weight);
    // Where only what bounds the weights is too great, the reference stays.
    const float reference = ceilf(greatest + log2f(weight)) - kRaisedExponent;
    if (rises) columns.reference[c] = fmaxf(columns.reference[c], reference);
  }
  find_weights(columns);
}

KVAULT_PREFILL_MEMBER void PrefillAttention<kKeyDim, kValueDim>::store_weights(
    u32 tile, const Columns& columns) {
  const u32 warp = warp_index();
  const u32 lane = lane_index();
  shared_.weights[warp][tile][lane] = {
      transpose_pairs(columns.weights[0][0]), transpose_pairs(columns.weights[0][1]),
      transpose_pairs(columns.weights[1][0]), transpose_pairs(columns.weights[1][1])};
  // Lanes of odd g go on with the second column.
  const bool is_odd = (lane & 4U) != 0;
  const float sent = is_odd ? columns.sum[0] : columns.sum[1];
  float sum = (is_odd ? columns.sum[1] : columns.sum[0]) + shuffle_xor(sent, 4);
  sum += shuffle_xor(sum, 8);
  sum += shuffle_xor(sum, 16);
  if (lane >= kColumns) return;
  const u32 row = tile * kColumns + lane % 4 * 2 + lane / 4;
  shared_.tile_sum[warp][row] = sum;
  shared_.tile_reference[warp][row] = is_odd ? columns.reference[1] : columns.reference[0];
}

#undef KVAULT_PREFILL_MEMBER

}  // namespace kvault::cuda
