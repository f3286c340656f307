#pragma once

#include "gpu_cuda/kernels/coded_pages.cuh"

// Attention of many rows over pages of coded keys and values: a block of threads takes up to eight
// tiles of rows, and decodes every code once for all of them.
//
// Of a page, each warp first takes 32 tokens: their keys are decoded into registers and multiplied,
// as integers, by the digits of all rows. A probability times the scale of its token's values
// becomes a half, a weight, in shared memory. Then each warp takes some of the dims: their values
// are decoded into halves and multiplied by the weights of all rows, summed in float by the tensor
// cores.
//
// Weights count from a reference of the row, which stands in for the maximum: a power of two that
// is raised where weights would become too large for halves, and else stays, so that the warps need
// not agree on a maximum. Warps that raise it leave their own; it is evened out, by exact powers of
// two, before the second product. A row's bits depend on nothing but its own query and the split.

namespace kvault::cuda {

/// Levels are multiplied as halves that are this times as small.
inline constexpr float kLevelUnit = 512;

template <u32 kKeyDim, u32 kValueDim>
struct PrefillShared {
  static constexpr u32 kTiles = prefill_tiles(kKeyDim, kValueDim);
  static constexpr u32 kRows = kTiles * kColumns;

  uint4 q_digits[kTiles][kKeyDim / 32][kWarpThreads];
  uint4 weights[kPageTiles][kTiles][kWarpThreads];  ///< fragments of 16 tokens, and of 16 more
  CodeTables tables;
  float q_step[kRows];
  float q_centre[kRows];  ///< what a code counts too much, as the bits of an integer
  float mean_product[kRows];
  float reference[kRows];
  float tile_reference[kPageTiles][kRows];
  float tile_sum[kPageTiles][kRows];
  // Of every warp its own.
  float factor[kAttendWarps][kPageTiles][kRows];  ///< of a tile's weights
  float rescale[kAttendWarps][kRows];             ///< of what was summed before
  float mass[kAttendWarps][kRows];                ///< of the page
  TileView view;                                  ///< of all rows
};

template <u32 kKeyDim, u32 kValueDim>
class PrefillAttention {
 public:
  using Shared = PrefillShared<kKeyDim, kValueDim>;

  KVAULT_DEVICE PrefillAttention(const AttendParams& params, const ItemEntry& item, Shared& shared)
      : params_(params), item_(item), shared_(shared) {}

  /// Attends the item's pages and leaves the partial softmaxes in the slots of its tiles.
  KVAULT_DEVICE void run();

 private:
  static_assert(kPageTiles == kAttendWarps);
  static constexpr u32 kSteps = kKeyDim / 32;
  static constexpr u32 kTiles = Shared::kTiles;
  static constexpr u32 kRows = Shared::kRows;
  static constexpr u32 kDimTiles = kValueDim / 16;
  /// Warps that share the dims of values; those with the same dims share the rows.
  static constexpr u32 kDimWarps = kDimTiles % kAttendWarps == 0 ? kAttendWarps : kAttendWarps / 2;
  static constexpr u32 kOwnDims = kDimTiles / kDimWarps;
  static constexpr u32 kOwnTiles = kTiles * kDimWarps / kAttendWarps;
  static constexpr u32 kLaneRows = kRows / kWarpThreads;

  /// What a lane knows of two columns and its tokens 16 m + 2 g + half of 32.
  struct Columns {
    float logits[2][2][2];  ///< [m][half][column], to be multiplied by rate, then added to offset
    float rate[2];
    float offset[2];
    float reference[2];
    u32 hidden;  ///< bit 4 m + 2 half + column: not seen
    // What find_weights() finds.
    u32 weights[2][2];  ///< [m][half], of both columns
    float sum[2];       ///< of the probabilities
  };

  KVAULT_DEVICE u32 own_dim_tile() const { return warp_index() % kDimWarps * kOwnDims; }
  KVAULT_DEVICE u32 own_tile() const { return warp_index() / kDimWarps * kOwnTiles; }
  KVAULT_DEVICE void load_item();
  KVAULT_DEVICE void attend_page(u32 page);
  KVAULT_DEVICE void find_mean_products();
  KVAULT_DEVICE void find_page_weights(u32 page_position);
  KVAULT_DEVICE void load_scales();
  KVAULT_DEVICE void decode_keys(u32 (&keys)[2][kSteps][4]) const;
  template <u32 kScheme>
  KVAULT_DEVICE void decode_keys_of(u32 (&keys)[2][kSteps][4]) const;
  KVAULT_DEVICE void find_products(u32 tile, const u32 (&keys)[2][kSteps][4],
                                   Columns& columns) const;
  KVAULT_DEVICE void cap_logits(Columns& columns) const;
  KVAULT_DEVICE u32 find_hidden(u32 column, u32 page_position) const;
  KVAULT_DEVICE void find_weights(Columns& columns) const;
  KVAULT_DEVICE bool fits(const Columns& columns, u32 c) const { return columns.sum[c] <= limit_; }
  KVAULT_DEVICE void raise_references(Columns& columns) const;
  KVAULT_DEVICE void store_weights(u32 tile, const Columns& columns);
  KVAULT_DEVICE bool merge_references();
  KVAULT_DEVICE void rescale();
  KVAULT_DEVICE void add_values(bool rises);
  template <u32 kScheme>
  KVAULT_DEVICE void add_values_of(bool rises);
  template <u32 kScheme>
  KVAULT_DEVICE void decode_values(u32 tile, u32 (&values)[kOwnDims][2][4]) const;
  KVAULT_DEVICE void add_mean();
  KVAULT_DEVICE float* partial_of(u32 tile) const;
  KVAULT_DEVICE void store();

  const AttendParams& params_;
  const ItemEntry& item_;
  Shared& shared_;
  PageEntry page_ = {};

  // Of the lane's tokens of the page.
  float key_scale_[2][2];    ///< [m][half], times what a level counts
  float value_scale_[2][2];  ///< likewise
  float limit_;              ///< of the sum of their probabilities, or the reference has to rise

  // Of the rows lane, lane + 32: the same in every warp.
  float reference_[kLaneRows];
  float sum_[kLaneRows];

  float gathered_[kOwnDims][kOwnTiles][4] = {};  ///< as multiply_tile() leaves it
};

/// Digits of a tile's eight queries as fragments of a step, of the high ones and of the low ones.
template <u32 kKeyDim>
KVAULT_DEVICE uint4 digit_fragments(const AttendParams& params, u32 tile, u32 step, u32 lane) {
  const std::int8_t* const high = params.q_digits + std::size_t{tile} * 2 * kColumns * kKeyDim;
  const u32 at = lane / 4 * kKeyDim + 8 * key_word<kKeyDim / 32>(lane % 4, step);
  const uint2 first = *reinterpret_cast<const uint2*>(high + at);
  const uint2 second = *reinterpret_cast<const uint2*>(high + kColumns * kKeyDim + at);
  return {first.x, first.y, second.x, second.y};
}

KVAULT_DEVICE float2 load_pair(const float* pair) { return *reinterpret_cast<const float2*>(pair); }

#define KVAULT_PREFILL_MEMBER           \
  template <u32 kKeyDim, u32 kValueDim> \
  KVAULT_DEVICE

/// Tables, queries and the rows' first state.
KVAULT_PREFILL_MEMBER void PrefillAttention<kKeyDim, kValueDim>::load_item() {
  if (thread_index() == 0) {
    const u32 last = item_.n_tile - 1;
    shared_.view = TileView::of(params_, item_.tile);
    shared_.view.tile.n_row = last * kColumns + params_.tiles[item_.tile + last].n_row;
  }
  shared_.tables.load();
  constexpr u32 kFragments = kSteps * kWarpThreads;
  for (u32 i = thread_index(); i < item_.n_tile * kFragments; i += kAttendThreads) {
    const u32 tile = i / kFragments;
    const u32 step = i / kWarpThreads % kSteps;
    shared_.q_digits[tile][step][i % kWarpThreads] =
        digit_fragments<kKeyDim>(params_, item_.tile + tile, step, i % kWarpThreads);
  }
  // Where there are fewer tiles, the second product takes zeros for the others.
  constexpr u32 kAllFragments = kPageTiles * kTiles * kWarpThreads;
  for (u32 i = thread_index(); item_.n_tile < kTiles && i < kAllFragments; i += kAttendThreads) {
    (&shared_.weights[0][0][0])[i] = {0, 0, 0, 0};
  }
  for (u32 row = thread_index(); row < item_.n_tile * kColumns; row += kAttendThreads) {
    const std::size_t index = std::size_t{item_.tile} * kColumns + row;
    shared_.q_step[row] = params_.q_steps[index];
    // 63.5 times the sum; half a unit of a digit is lost on odd ones.
    shared_.q_centre[row] = bits_as_float(static_cast<u32>((params_.q_sums[index] * 127) >> 1));
    shared_.reference[row] = kLeastMaximum;
  }
  KVAULT_UNROLL
  for (u32 i = 0; i < kLaneRows; ++i) {
    reference_[i] = kLeastMaximum;
    sum_[i] = 0;
  }
  sync_block();
}

KVAULT_PREFILL_MEMBER void PrefillAttention<kKeyDim, kValueDim>::run() {
  load_item();
  KVAULT_NO_UNROLL
  for (u32 page = item_.page_begin; page < item_.page_end; ++page) {
    if (takes_page(params_, shared_.view, page)) attend_page(page);
  }
  store();
}

KVAULT_PREFILL_MEMBER void PrefillAttention<kKeyDim, kValueDim>::attend_page(u32 page) {
  page_ = page_entry(params_, shared_.view, page);
  if (page + 1 < item_.page_end && takes_page(params_, shared_.view, page + 1)) {
    prefetch_codes(page_entry(params_, shared_.view, page + 1), kKeyDim, kValueDim, thread_index(),
                   kAttendThreads);
  }
  if (is_centred(page_.key_format)) find_mean_products();
  // The products are there, and nobody needs the weights of the page before.
  sync_block();
  find_page_weights(shared_.view.position_of_page(page));
  sync_block();
  const bool rises = merge_references();
  if (counted(false, rises)) rescale();
  add_values(rises);
  if (is_centred(page_.value_format)) add_mean();
}

/// The rows' references take the page's in, and their sums its probabilities. Whether any reference
/// rises, in which case the page's weights and all sums have to be made relative to the new ones.
KVAULT_PREFILL_MEMBER bool PrefillAttention<kKeyDim, kValueDim>::merge_references() {
  const u32 warp = warp_index();
  float greatest[kLaneRows];
  float mass[kLaneRows];
  bool rises = false;
  KVAULT_UNROLL
  for (u32 i = 0; i < kLaneRows; ++i) {
    const u32 row = lane_index() + i * kWarpThreads;
    greatest[i] = reference_[i];
    mass[i] = 0;
    if (row >= item_.n_tile * kColumns) continue;
    KVAULT_UNROLL
    for (u32 tile = 0; tile < kPageTiles; ++tile) {
      greatest[i] = fmaxf(greatest[i], shared_.tile_reference[tile][row]);
      mass[i] += shared_.tile_sum[tile][row];
    }
    rises = rises || greatest[i] > reference_[i];
  }
  rises = any_lane(rises);
  if (counted(false, rises)) {
    KVAULT_UNROLL
    for (u32 i = 0; i < kLaneRows; ++i) {
      const u32 row = lane_index() + i * kWarpThreads;
      if (row >= item_.n_tile * kColumns) continue;
      mass[i] = 0;
      KVAULT_UNROLL
      for (u32 tile = 0; tile < kPageTiles; ++tile) {
        const float factor = exp2_fast(shared_.tile_reference[tile][row] - greatest[i]);
        shared_.factor[warp][tile][row] = factor;
        mass[i] += factor * shared_.tile_sum[tile][row];
      }
      const float factor = exp2_fast(reference_[i] - greatest[i]);
      shared_.rescale[warp][row] = factor;
      sum_[i] *= factor;
      reference_[i] = greatest[i];
      if (warp == 0) shared_.reference[row] = greatest[i];
    }
  }
  KVAULT_UNROLL
  for (u32 i = 0; i < kLaneRows; ++i) {
    sum_[i] += mass[i];
    shared_.mass[warp][lane_index() + i * kWarpThreads] = mass[i];
  }
  sync_warp();
  return rises;
}

KVAULT_PREFILL_MEMBER float* PrefillAttention<kKeyDim, kValueDim>::partial_of(u32 tile) const {
  const u32 slot =
      params_.tiles[item_.tile + tile].first_slot + (item_.slot - shared_.view.tile.first_slot);
  return params_.partials + std::size_t{slot} * slot_floats(kValueDim);
}

KVAULT_PREFILL_MEMBER void PrefillAttention<kKeyDim, kValueDim>::store() {
  KVAULT_UNROLL
  for (u32 i = 0; i < kLaneRows; ++i) {
    const u32 row = lane_index() + i * kWarpThreads;
    if (warp_index() != 0 || row >= item_.n_tile * kColumns) continue;
    float* const partial = partial_of(row / kColumns) + 2 * (row % kColumns);
    partial[0] = sum_[i] > 0 ? reference_[i] : kNothing;
    partial[1] = sum_[i];
  }
  KVAULT_UNROLL
  for (u32 n = 0; n < kOwnTiles; ++n) {
    const u32 tile = own_tile() + n;
    if (tile >= item_.n_tile) continue;
    float* const partial = partial_of(tile) + 2 * kColumns;
    KVAULT_UNROLL
    for (u32 i = 0; i < kOwnDims; ++i) {
      const u32 dim = 2 * value_word<kDimTiles>(lane_index() / 4, own_dim_tile() + i);
      KVAULT_UNROLL
      for (u32 c = 0; c < 2; ++c) {
        float* const row = partial + (lane_index() % 4 * 2 + c) * kValueDim + dim;
        *reinterpret_cast<float2*>(row) = {gathered_[i][n][c] * kLevelUnit,
                                           gathered_[i][n][2 + c] * kLevelUnit};
      }
    }
  }
}

#undef KVAULT_PREFILL_MEMBER

}  // namespace kvault::cuda
