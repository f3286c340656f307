#include "gpu_cuda/kernel_abi.hpp"
#include "gpu_cuda/kernels/block.cuh"
#include "gpu_cuda/kernels/visible.cuh"

// Attention over pages of any format, in floats: a thread takes a token's key, then a warp a
// column's softmax, then a thread a dim's weighted sum over the tokens. A code is unpacked once for
// all columns. For raw pages, mixed ones, and GPUs without integer tensor cores.

namespace kvault::cuda {
namespace {

constexpr u32 kTokens = KVAULT_PAGE_N_TOKEN;
static_assert(kAttendThreads == kTokens);
constexpr u32 kWarps = kAttendThreads / kWarpThreads;
constexpr u32 kColumnsPerWarp = kColumns / kWarps;
constexpr u32 kTokensPerLane = kTokens / kWarpThreads;
constexpr u32 kDimsPerThread = KVAULT_HEAD_DIM_MAX / kAttendThreads;

struct Shared {
  float q[KVAULT_HEAD_DIM_MAX * kColumns];  ///< [dim][column]
  float weights[kTokens * kColumns];        ///< [token][column]: logits, then probabilities
  float mean_product[kColumns];
  float maximum[kColumns];
  float sum[kColumns];
  float rescale[kColumns];
  float mass[kColumns];
  Levels levels;
  u32 keeps_values;
};

class PageAttention {
 public:
  KVAULT_DEVICE PageAttention(const AttendParams& params, const ItemEntry& item, Shared& shared)
      : params_(params), item_(item), shared_(shared), view_(TileView::of(params, item.tile)) {}

  /// Takes the item's pages of its kind into the sums.
  KVAULT_DEVICE void run();
  KVAULT_DEVICE void store();

 private:
  KVAULT_DEVICE bool takes(u32 page) const;
  KVAULT_DEVICE void load_queries(bool is_raw_key);
  KVAULT_DEVICE void find_logits(u32 page_position);
  KVAULT_DEVICE void add_row(const std::byte* row, float (&products)[kColumns]);
  KVAULT_DEVICE void add_mean_products();
  KVAULT_DEVICE void take_page(u32 page_position);
  KVAULT_DEVICE void take_column(u32 column, u32 page_position);
  KVAULT_DEVICE void add_values(u32 n_valid);
  KVAULT_DEVICE float value_at(u32 token, u32 dim) const;

  const AttendParams& params_;
  const ItemEntry& item_;
  Shared& shared_;
  TileView view_;
  PageEntry page_ = {};
  u32 loaded_queries_ = 2;  ///< 0 rotated ones, 1 raw ones, 2 none yet
  float gathered_[kDimsPerThread][kColumns] = {};
};

KVAULT_DEVICE bool PageAttention::takes(u32 page) const {
  if (!view_.sees_page(view_.position_of_page(page))) return false;
  const PageEntry& entry =
      view_.sequence.pages[std::size_t{page} * params_.n_kv_head + view_.tile.kv_head];
  if (item_.kind == kFloors) return page == 0 || page + 2 >= item_.page_end;
  if (is_raw(entry.value_format)) return item_.kind == kRawValues;
  const bool is_left = params_.uses_tensor_cores != 0 && !is_raw(entry.key_format);
  return item_.kind == kCodedValues && !is_left;
}

KVAULT_DEVICE void PageAttention::load_queries(bool is_raw_key) {
  if (loaded_queries_ == (is_raw_key ? 1U : 0U)) return;
  loaded_queries_ = is_raw_key ? 1 : 0;
  const u32 padded = padded_dim(params_.key_dim);
  const float* const queries = (is_raw_key ? params_.q_raw : params_.q_rotated) +
                               std::size_t{item_.tile} * kColumns * padded;
  for (u32 i = thread_index(); i < padded * kColumns; i += n_thread()) {
    shared_.q[i % padded * kColumns + i / padded] = queries[i];
  }
}

/// The products of all columns with a token's key, whatever it is stored as.
KVAULT_DEVICE void PageAttention::add_row(const std::byte* row, float (&products)[kColumns]) {
  const u32 format = is_raw(page_.key_format) ? page_.key_format : scheme_of(page_.key_format);
  for (u32 dim = 0; dim < params_.key_dim; ++dim) {
    const float x =
        is_raw(format) ? raw_element(row, format, dim) : level_at(shared_.levels, format, row, dim);
    KVAULT_UNROLL
    for (u32 c = 0; c < kColumns; ++c) products[c] += x * shared_.q[dim * kColumns + c];
  }
}

/// The products of the columns with the block's mean, by a warp for each.
KVAULT_DEVICE void PageAttention::add_mean_products() {
  const bool has_mean = !is_raw(page_.key_format) && is_centred(page_.key_format);
  const std::uint16_t* const mean =
      has_mean ? mean_of(page_.key, scheme_of(page_.key_format), params_.key_dim) : nullptr;
  for (u32 column = warp_index(); column < kColumns; column += kWarps) {
    float product = 0;
    if (has_mean) {
      for (u32 dim = lane_index(); dim < params_.key_dim; dim += kWarpThreads) {
        product += half_as_float(mean[dim]) * shared_.q[dim * kColumns + column];
      }
    }
    product = sum_of_warp(product);
    if (lane_index() == 0) shared_.mean_product[column] = product;
  }
}

/// Leaves logits without their mean in `weights`. Rows past the valid length may be anything.
KVAULT_DEVICE void PageAttention::find_logits(u32 page_position) {
  const u32 token = thread_index();
  const bool is_valid = page_position + token < view_.sequence.n_token;
  float products[kColumns] = {};
  float factor = 1;
  if (is_valid && is_raw(page_.key_format)) {
    const u32 row_bytes = params_.key_dim * element_bytes(page_.key_format);
    add_row(page_.key + std::size_t{token} * row_bytes, products);
  } else if (is_valid) {
    const u32 scheme = scheme_of(page_.key_format);
    const u32 row_bytes = padded_dim(params_.key_dim) * code_bits(scheme) / 8;
    add_row(page_.key + std::size_t{token} * row_bytes, products);
    factor = half_as_float(scales_of(page_.key, scheme, params_.key_dim)[token]) *
             level_step(scheme, params_.key_unit);
  }
  KVAULT_UNROLL
  for (u32 c = 0; c < kColumns; ++c) shared_.weights[token * kColumns + c] = products[c] * factor;
}

/// A column's logits become probabilities, by a warp; with the scales of coded values.
KVAULT_DEVICE void PageAttention::take_column(u32 column, u32 page_position) {
  const bool has_scales = !is_raw(page_.value_format);
  const u32 scheme = scheme_of(page_.value_format);
  const std::uint16_t* const scales = scales_of(page_.value, scheme, params_.value_dim);
  const float step = has_scales ? level_step(scheme, params_.value_unit) : 1.0F;
  float logits[kTokensPerLane];
  float greatest = kNothing;
  KVAULT_UNROLL
  for (u32 k = 0; k < kTokensPerLane; ++k) {
    const u32 token = lane_index() + k * kWarpThreads;
    float logit = shared_.weights[token * kColumns + column] + shared_.mean_product[column];
    if (params_.softcap > 0) logit = cap_logit(logit, params_.softcap);
    logits[k] = view_.sees(column, page_position + token) ? logit : kNothing;
    greatest = fmaxf(greatest, logits[k]);
  }
  const float before = shared_.maximum[column];
  greatest = fmaxf(before, max_of_warp(greatest));
  float mass = 0;
  KVAULT_UNROLL
  for (u32 k = 0; k < kTokensPerLane; ++k) {
    const u32 token = lane_index() + k * kWarpThreads;
    const float p = logits[k] > kNothing ? exp2f(logits[k] - greatest) : 0.0F;
    mass += p;
    // A scale past the valid length may be anything.
    const float scale = has_scales && p > 0 ? half_as_float(scales[token]) * step : 1.0F;
    shared_.weights[token * kColumns + column] = p * scale;
  }
  mass = sum_of_warp(mass);
  const float rescale = before > kNothing ? exp2f(before - greatest) : 0.0F;
  const float sum = shared_.sum[column] * rescale + mass;
  sync_warp();
  if (lane_index() != 0) return;
  shared_.maximum[column] = greatest;
  shared_.sum[column] = sum;
  shared_.rescale[column] = rescale;
  shared_.mass[column] = mass;
  const float* const floor = params_.floors + (std::size_t{item_.tile} * kColumns + column) * 2;
  if (column < view_.tile.n_row && (view_.sequence.sparse_share <= 0 ||
                                    !is_negligible(view_, floor, mass, sum, greatest, kTokens))) {
    shared_.keeps_values = 1;
  }
}

KVAULT_DEVICE void PageAttention::take_page(u32 page_position) {
  KVAULT_UNROLL
  for (u32 k = 0; k < kColumnsPerWarp; ++k) take_column(warp_index() + k * kWarps, page_position);
}

KVAULT_DEVICE float PageAttention::value_at(u32 token, u32 dim) const {
  if (is_raw(page_.value_format)) {
    return raw_element(page_.value, page_.value_format, token * params_.value_dim + dim);
  }
  const u32 place = place_of_code(true, token, dim, padded_dim(params_.value_dim));
  return level_at(shared_.levels, scheme_of(page_.value_format), page_.value, place);
}

KVAULT_DEVICE void PageAttention::add_values(u32 n_valid) {
  KVAULT_UNROLL
  for (u32 k = 0; k < kDimsPerThread; ++k) {
    const u32 dim = thread_index() + k * kAttendThreads;
    if (dim >= params_.value_dim) continue;
    KVAULT_UNROLL
    for (u32 c = 0; c < kColumns; ++c) gathered_[k][c] *= shared_.rescale[c];
    if (shared_.keeps_values == 0) continue;
    for (u32 token = 0; token < n_valid; ++token) {
      const float x = value_at(token, dim);
      KVAULT_UNROLL
      for (u32 c = 0; c < kColumns; ++c) {
        gathered_[k][c] += x * shared_.weights[token * kColumns + c];
      }
    }
    if (is_raw(page_.value_format) || !is_centred(page_.value_format)) continue;
    const float mean =
        half_as_float(mean_of(page_.value, scheme_of(page_.value_format), params_.value_dim)[dim]);
    KVAULT_UNROLL
    for (u32 c = 0; c < kColumns; ++c) gathered_[k][c] += mean * shared_.mass[c];
  }
}

KVAULT_DEVICE void PageAttention::run() {
  if (thread_index() < kColumns) {
    shared_.maximum[thread_index()] = kNothing;
    shared_.sum[thread_index()] = 0;
  }
  shared_.levels.load();
  for (u32 page = item_.page_begin; page < item_.page_end; ++page) {
    if (!takes(page)) continue;
    const u32 page_position = view_.position_of_page(page);
    page_ = view_.sequence.pages[std::size_t{page} * params_.n_kv_head + view_.tile.kv_head];
    if (thread_index() == 0) shared_.keeps_values = 0;
    load_queries(is_raw(page_.key_format));
    sync_block();
    find_logits(page_position);
    add_mean_products();
    sync_block();
    take_page(page_position);
    sync_block();
    if (item_.kind != kFloors) add_values(min(kTokens, view_.sequence.n_token - page_position));
    sync_block();
  }
  sync_block();
}

KVAULT_DEVICE void PageAttention::store() {
  const u32 thread = thread_index();
  if (item_.kind == kFloors) {
    if (thread >= kColumns) return;
    float* const floor = params_.floors + (std::size_t{item_.tile} * kColumns + thread) * 2;
    floor[0] = shared_.maximum[thread];
    floor[1] = shared_.sum[thread];
    return;
  }
  const u32 padded = padded_dim(params_.value_dim);
  float* const partial = params_.partials + std::size_t{item_.slot} * slot_floats(padded);
  if (thread < kColumns) {
    partial[2 * thread] = shared_.maximum[thread];
    partial[2 * thread + 1] = shared_.sum[thread];
  }
  KVAULT_UNROLL
  for (u32 k = 0; k < kDimsPerThread; ++k) {
    const u32 dim = thread + k * kAttendThreads;
    if (dim >= params_.value_dim) continue;
    KVAULT_UNROLL
    for (u32 c = 0; c < kColumns; ++c) {
      partial[2 * kColumns + c * padded + dim] = gathered_[k][c];
    }
  }
}

}  // namespace

/// A block of threads for each item that is not of kTensorValues.
KVAULT_KERNEL(kAttendThreads, 4) kvault_attend_portable(const AttendParams params) {
  KVAULT_SHARED(Shared, shared);
  const ItemEntry item = params.items[block_index()];
  PageAttention attention(params, item, shared);
  attention.run();
  attention.store();
}

}  // namespace kvault::cuda
