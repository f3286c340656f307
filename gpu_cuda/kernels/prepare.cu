#include "gpu_cuda/kernel_abi.hpp"
#include "gpu_cuda/kernels/block.cuh"
#include "gpu_cuda/kernels/rotate.cuh"

// A row of queries as the kernels of an attend want it, by a block of threads: scaled, once as it
// is, for raw keys; once equalised and rotated, for coded ones; and this as integers too.

namespace kvault::cuda {
namespace {

// Two digits, 256 * high + low, both signed bytes.
constexpr float kIntegerMax = 127 * 256;
constexpr float kLog2E = 1.4426950408889634F;

struct Shared {
  float row[KVAULT_HEAD_DIM_MAX];
  float warp_maxima[kWarpThreads];
  u32 warp_sums[kWarpThreads];
};

/// What products with the query are counted in: logits of log2, unless they are capped before.
KVAULT_DEVICE float query_scale(const AttendParams& params) {
  return params.softcap > 0 ? params.softmax_scale : params.softmax_scale * kLog2E;
}

KVAULT_DEVICE float max_of_block(float value, Shared& shared) {
  value = max_of_warp(value);
  if (lane_index() == 0) shared.warp_maxima[warp_index()] = value;
  sync_block();
  for (u32 i = 0; i < n_warp(); ++i) value = fmaxf(value, shared.warp_maxima[i]);
  return value;
}

KVAULT_DEVICE void store_digits(const AttendParams& params, u32 row, Shared& shared) {
  const u32 padded = padded_dim(params.key_dim);
  float own_maximum = 0;
  for (u32 i = thread_index(); i < params.key_dim; i += n_thread()) {
    own_maximum = fmaxf(own_maximum, fabsf(shared.row[i]));
  }
  const float step = max_of_block(own_maximum, shared) / kIntegerMax;
  // A row too small for its step to count has no digits.
  const float inverse = step > 1e-35F ? 1 / step : 0.0F;
  const u32 tile = row / kColumns;
  std::int8_t* const high = params.q_digits + (2 * tile * kColumns + row % kColumns) * padded;
  std::int8_t* const low = high + kColumns * padded;
  int sum = 0;
  for (u32 i = thread_index(); i < padded; i += n_thread()) {
    const int integer = i < params.key_dim ? static_cast<int>(rintf(shared.row[i] * inverse)) : 0;
    const int high_digit = (integer + 128) >> 8;
    high[i] = static_cast<std::int8_t>(high_digit);
    low[i] = static_cast<std::int8_t>(integer - 256 * high_digit);
    sum += integer;
  }
  for (int mask = kWarpThreads / 2; mask > 0; mask /= 2) {
    sum += static_cast<int>(shuffle_xor(static_cast<u32>(sum), mask));
  }
  if (lane_index() == 0) shared.warp_sums[warp_index()] = static_cast<u32>(sum);
  sync_block();
  if (thread_index() != 0) return;
  sum = 0;
  for (u32 i = 0; i < n_warp(); ++i) sum += static_cast<int>(shared.warp_sums[i]);
  params.q_steps[row] = step;
  params.q_sums[row] = sum;
}

}  // namespace

KVAULT_KERNEL(kAttendThreads, 4) kvault_prepare(const AttendParams params) {
  KVAULT_SHARED(Shared, shared);
  const u32 row = block_index();
  const u32 column = row % kColumns;
  const TileEntry tile = params.tiles[row / kColumns];
  const SequenceEntry sequence = params.sequences[tile.sequence];
  const u32 group = params.n_head / params.n_kv_head;
  const u32 tile_row = tile.first_row + column;
  const bool is_row = column < tile.n_row;
  const u32 padded = padded_dim(params.key_dim);
  const std::size_t first =
      (std::size_t{tile_row / group} * params.n_head + tile.kv_head * group + tile_row % group) *
      params.key_dim;
  for (u32 i = thread_index(); i < padded; i += n_thread()) {
    const bool is_dim = is_row && i < params.key_dim;
    const float q = is_dim ? sequence.q[first + i] * query_scale(params) : 0.0F;
    params.q_raw[std::size_t{row} * padded + i] = q;
    if (i >= params.key_dim) continue;
    const std::uint16_t* const equaliser = sequence.equaliser;
    const float e =
        equaliser != nullptr ? half_as_float(equaliser[tile.kv_head * params.key_dim + i]) : 1.0F;
    shared.row[i] = q / e * params.key_rotation.scaled_signs[i];
  }
  sync_block();
  rotate_rows(shared.row, 1, params.key_rotation);
  for (u32 i = thread_index(); i < padded; i += n_thread()) {
    params.q_rotated[std::size_t{row} * padded + i] = i < params.key_dim ? shared.row[i] : 0.0F;
  }
  store_digits(params, row, shared);
}

}  // namespace kvault::cuda
