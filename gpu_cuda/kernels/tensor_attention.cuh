#pragma once

#include "gpu_cuda/kernels/coded_pages.cuh"

// Attention over pages of coded keys and values by integer tensor cores. Levels of codes are bytes,
// queries and probabilities two digits each, so that all products are exact integers. A warp has
// every fourth page of its item and takes it in four tiles of 32 tokens.
//
// kWide: up to eight rows, whose digits are multiplied one after the other; else up to four, whose
// digits are the eight columns. Bits of a row are the same either way.

namespace kvault::cuda {

/// Blocks of threads that are to fit a multiprocessor at once, of 65536 registers.
constexpr u32 blocks_at_once(u32 key_dim, u32 value_dim, bool is_wide) {
  return key_dim > 128 || value_dim > 128 ? 2 : is_wide ? 3 : 4;
}

template <u32 kKeyDim, u32 kValueDim, bool kWide>
struct TensorShared {
  CodeTables tables;
  u32 q_digits[kKeyDim / 32][kWarpThreads][kWide ? 4 : 2];
  float q[kColumns * kKeyDim];           ///< [column][dim], rotated
  float gathered[kColumns * kValueDim];  ///< of all warps
  float warp_maximum[kAttendWarps][kColumns];
  float warp_sum[kAttendWarps][kColumns];
  // Not in registers: every thread would have all of it, all the time.
  TileView view;
  PageEntry pages[kAttendWarps];
};

/// Sums are in registers. Where they take most of these, loops over the dims have a sync_warp() in
/// every turn, before which no compiler moves loads: else they would wait for memory in registers
/// that are not there.
template <u32 kKeyDim, u32 kValueDim, bool kWide>
class TensorAttention {
 public:
  using Shared = TensorShared<kKeyDim, kValueDim, kWide>;

  KVAULT_DEVICE TensorAttention(const AttendParams& params, const ItemEntry& item, Shared& shared)
      : params_(params),
        item_(item),
        shared_(shared),
        view_(shared.view),
        page_(shared.pages[warp_index()]) {}

  /// Attends the item's pages and leaves the partial softmax in its slot.
  KVAULT_DEVICE void run();

 private:
  static constexpr u32 kSteps = kKeyDim / 32;
  static constexpr u32 kTiles = kValueDim / 16;
  /// Whether sums take most of the registers.
  static constexpr bool kIsTight = kTiles > 16 || (kWide && kTiles >= 16);
  /// Columns of a lane, from own_column() on.
  static constexpr u32 kOwn = kWide ? 2 : 1;

  KVAULT_DEVICE u32 own_column() const { return lane_index() % 4 * kOwn; }
  KVAULT_DEVICE void load_item();
  KVAULT_DEVICE void attend_page(u32 page);
  KVAULT_DEVICE void prefetch_page(u32 page) const;
  KVAULT_DEVICE void find_mean_products();
  KVAULT_DEVICE void attend_tile(u32 tile, u32 page_position, bool sees_all);
  KVAULT_DEVICE void find_products(u32 tile);
  template <u32 kScheme>
  KVAULT_DEVICE void find_products_of(u32 tile);
  KVAULT_DEVICE void find_logits(u32 tile, u32 page_position, bool sees_all);
  KVAULT_DEVICE void raise_maximum();
  KVAULT_DEVICE bool find_probabilities();
  KVAULT_DEVICE void scale_probabilities(u32 tile, bool sees_all);
  KVAULT_DEVICE void make_weights();
  KVAULT_DEVICE void add_values(u32 tile);
  template <u32 kScheme>
  KVAULT_DEVICE void add_values_of(u32 tile);
  KVAULT_DEVICE void add_mean();
  KVAULT_DEVICE void store();
  KVAULT_DEVICE void add_to_gathered(u32 warp, const float (&factor)[kOwn]);

  const AttendParams& params_;
  const ItemEntry& item_;
  Shared& shared_;
  const TileView& view_;  ///< from load_item() on
  PageEntry& page_;       ///< the warp's

  // Of the lane's columns.
  int q_centre_[kOwn];
  float q_step_[kOwn];
  float mean_product_[kOwn];
  float maximum_[kOwn];
  float sum_[kOwn];          ///< of the lane's tokens
  float page_sum_[kOwn];     ///< likewise, of the page's tokens whose values were added
  float weight_sum_[kOwn];   ///< likewise, of the digits of weights of nibbles, in units of output
  float key_step_[kOwn];     ///< of the page: q_step_ times what a level counts
  float weight_unit_[kOwn];  ///< of the tile: integers per weight
  float tile_step_[kOwn];    ///< what a digit of a weight counts

  float value_step_;  ///< of the page: what a level counts

  // Of a tile of 32 tokens: the lane's tokens are 16 * m + 2 * g + half.
  int products_[2][2][kOwn];       ///< [m][half]
  float logits_[2][2][kOwn];       ///< then probabilities
  u32 weights_[kWide ? 2 : 1][2];  ///< [digit][m], fragments b0 and b1

  float gathered_[kTiles][2][kOwn] = {};  ///< [tile of dims][row g or g + 8]
};

#define KVAULT_TENSOR_MEMBER                        \
  template <u32 kKeyDim, u32 kValueDim, bool kWide> \
  KVAULT_DEVICE

/// Tables, queries and the columns' first state.
KVAULT_TENSOR_MEMBER void TensorAttention<kKeyDim, kValueDim, kWide>::load_item() {
  if (thread_index() == 0) shared_.view = TileView::of(params_, item_.tile);
  shared_.tables.load();
  const std::size_t first = std::size_t{item_.tile} * kColumns * kKeyDim;
  for (u32 i = thread_index(); i < kColumns * kKeyDim; i += kAttendThreads) {
    shared_.q[i] = params_.q_rotated[first + i];
  }
  const std::int8_t* const high = params_.q_digits + 2 * first;
  const std::int8_t* const low = high + kColumns * kKeyDim;
  for (u32 i = thread_index(); i < kSteps * kWarpThreads; i += kAttendThreads) {
    const u32 step = i / kWarpThreads;
    const u32 g = i % kWarpThreads / 4;
    const u32 dim = 8 * key_word<kSteps>(i % 4, step);
    u32* const fragment = shared_.q_digits[step][i % kWarpThreads];
    const std::int8_t* const one =
        kWide ? high + g * kKeyDim : (g % 2 == 0 ? high : low) + g / 2 * kKeyDim;
    fragment[0] = *reinterpret_cast<const u32*>(one + dim);
    fragment[1] = *reinterpret_cast<const u32*>(one + dim + 4);
    if constexpr (kWide) {
      fragment[2] = *reinterpret_cast<const u32*>(low + g * kKeyDim + dim);
      fragment[3] = *reinterpret_cast<const u32*>(low + g * kKeyDim + dim + 4);
    }
  }
  KVAULT_UNROLL
  for (u32 c = 0; c < kOwn; ++c) {
    const std::size_t row = std::size_t{item_.tile} * kColumns + own_column() + c;
    q_step_[c] = params_.q_steps[row];
    // 63.5 times the sum; half a unit of a digit is lost on odd ones.
    q_centre_[c] = (params_.q_sums[row] * 127) >> 1;
    maximum_[c] = kLeastMaximum;
    sum_[c] = 0;
    weight_sum_[c] = 0;
  }
  sync_block();
}

/// Has the memory begin to fetch what the warp will come to next.
KVAULT_TENSOR_MEMBER void TensorAttention<kKeyDim, kValueDim, kWide>::prefetch_page(
    u32 page) const {
  if (page >= item_.page_end || !takes_page(params_, view_, page)) return;
  prefetch_codes(page_entry(params_, view_, page), kKeyDim, kValueDim, lane_index(), kWarpThreads);
}

KVAULT_TENSOR_MEMBER void TensorAttention<kKeyDim, kValueDim, kWide>::run() {
  load_item();
  prefetch_page(item_.page_begin + warp_index());
  for (u32 page = item_.page_begin + warp_index(); page < item_.page_end; page += kAttendWarps) {
    prefetch_page(page + kAttendWarps);
    if (takes_page(params_, view_, page)) attend_page(page);
  }
  store();
}

KVAULT_TENSOR_MEMBER void TensorAttention<kKeyDim, kValueDim, kWide>::attend_page(u32 page) {
  const u32 page_position = view_.position_of_page(page);
  sync_warp();
  if (lane_index() == 0) page_ = page_entry(params_, view_, page);
  sync_warp();
  find_mean_products();
  KVAULT_UNROLL
  for (u32 c = 0; c < kOwn; ++c) {
    page_sum_[c] = 0;
    key_step_[c] = q_step_[c] * level_step(scheme_of(page_.key_format), params_.key_unit);
  }
  value_step_ = level_step(scheme_of(page_.value_format), params_.value_unit);
  const bool sees_all = counted(true, view_.sees_all_of(page_position));
  KVAULT_NO_UNROLL
  for (u32 tile = 0; tile < kPageTiles; ++tile) {
    attend_tile(tile, page_position, sees_all);
  }
  if (is_centred(page_.value_format)) add_mean();
}

KVAULT_TENSOR_MEMBER void TensorAttention<kKeyDim, kValueDim, kWide>::attend_tile(u32 tile,
                                                                                  u32 page_position,
                                                                                  bool sees_all) {
  find_products(tile);
  find_logits(tile, page_position, sees_all);
  raise_maximum();
  if (!find_probabilities()) return;
  scale_probabilities(tile, sees_all);
  make_weights();
  add_values(tile);
}

/// Adds what a warp gathered to what those before it did.
KVAULT_TENSOR_MEMBER void TensorAttention<kKeyDim, kValueDim, kWide>::add_to_gathered(
    u32 warp, const float (&factor)[kOwn]) {
  KVAULT_UNROLL
  for (u32 i = 0; i < kTiles; ++i) {
    if constexpr (kIsTight) sync_warp();
    const u32 dim = 2 * value_word<kTiles>(lane_index() / 4, i);
    KVAULT_UNROLL
    for (u32 half = 0; half < 2; ++half) {
      KVAULT_UNROLL
      for (u32 c = 0; c < kOwn; ++c) {
        float& sum = shared_.gathered[(own_column() + c) * kValueDim + dim + half];
        const float own =
            (gathered_[i][half][c] - static_cast<float>(KVAULT_TABLE_CENTRE) * weight_sum_[c]) *
            factor[c];
        sum = warp == 0 ? own : sum + own;
      }
    }
  }
}

KVAULT_TENSOR_MEMBER void TensorAttention<kKeyDim, kValueDim, kWide>::store() {
  constexpr u32 kRows = 4 * kOwn;
  KVAULT_UNROLL
  for (u32 c = 0; c < kOwn; ++c) {
    sum_[c] = sum_of_column(sum_[c]);
    weight_sum_[c] = sum_of_column(weight_sum_[c]);
    if (lane_index() < 4) {
      shared_.warp_maximum[warp_index()][own_column() + c] = maximum_[c];
      shared_.warp_sum[warp_index()][own_column() + c] = sum_[c];
    }
  }
  sync_block();
  float factor[kOwn];
  KVAULT_UNROLL
  for (u32 c = 0; c < kOwn; ++c) {
    float greatest = kLeastMaximum;
    for (u32 warp = 0; warp < kAttendWarps; ++warp) {
      greatest = fmaxf(greatest, shared_.warp_maximum[warp][own_column() + c]);
    }
    factor[c] = exp2_fast(maximum_[c] - greatest);
  }
  for (u32 warp = 0; warp < kAttendWarps; ++warp) {
    if (warp_index() == warp) add_to_gathered(warp, factor);
    sync_block();
  }
  float* const partial = params_.partials + std::size_t{item_.slot} * slot_floats(kValueDim);
  for (u32 row = thread_index(); row < kColumns; row += kAttendThreads) {
    float greatest = kLeastMaximum;
    float sum = 0;
    for (u32 warp = 0; row < kRows && warp < kAttendWarps; ++warp) {
      greatest = fmaxf(greatest, shared_.warp_maximum[warp][row]);
    }
    for (u32 warp = 0; row < kRows && warp < kAttendWarps; ++warp) {
      sum += shared_.warp_sum[warp][row] * exp2_fast(shared_.warp_maximum[warp][row] - greatest);
    }
    partial[2 * row] = sum > 0 ? greatest : kNothing;
    partial[2 * row + 1] = sum;
  }
  for (u32 i = thread_index(); i < kRows * kValueDim; i += kAttendThreads) {
    partial[2 * kColumns + i] = shared_.gathered[i];
  }
}

#undef KVAULT_TENSOR_MEMBER

}  // namespace kvault::cuda
