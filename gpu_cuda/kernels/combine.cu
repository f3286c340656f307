#include "gpu_cuda/kernel_abi.hpp"
#include "gpu_cuda/kernels/block.cuh"
#include "gpu_cuda/kernels/rotate.cuh"

// What the splits of a tile gathered becomes rows: merged in order, the coded part rotated back,
// divided by the sum. A block of threads takes a row.

namespace kvault::cuda {
namespace {

constexpr u32 kDimsPerThread = KVAULT_HEAD_DIM_MAX / kAttendThreads;
constexpr float kLn2 = 0.6931471805599453F;
constexpr u32 kMinusInfinity = 0xFF800000U;

struct Shared {
  float row[KVAULT_HEAD_DIM_MAX];
};

}  // namespace

KVAULT_KERNEL(kAttendThreads, 4) kvault_combine(const AttendParams params) {
  KVAULT_SHARED(Shared, shared);
  const TileEntry tile = params.tiles[block_index() / kColumns];
  const u32 column = block_index() % kColumns;
  if (column >= tile.n_row) return;
  const u32 padded = padded_dim(params.value_dim);
  const std::size_t size = slot_floats(padded);
  const float* const first = params.partials + tile.first_slot * size;
  float maximum = kNothing;
  for (u32 slot = 0; slot < tile.n_slot; ++slot) {
    maximum = fmaxf(maximum, first[slot * size + 2 * column]);
  }
  float sum = 0;
  float raw[kDimsPerThread] = {};
  float coded[kDimsPerThread] = {};
  for (u32 slot = 0; slot < tile.n_slot; ++slot) {
    const float* const partial = first + slot * size;
    if (partial[2 * column] <= kNothing) continue;
    const float weight = exp2f(partial[2 * column] - maximum);
    sum += weight * partial[2 * column + 1];
    const bool is_raw_part = params.slot_kinds[tile.first_slot + slot] == kRawValues;
    const float* const values = partial + 2 * kColumns + column * padded;
    KVAULT_UNROLL
    for (u32 k = 0; k < kDimsPerThread; ++k) {
      const u32 dim = thread_index() + k * kAttendThreads;
      if (dim >= params.value_dim) continue;
      const float value = weight * values[dim];
      raw[k] += is_raw_part ? value : 0.0F;
      coded[k] += is_raw_part ? 0.0F : value;
    }
  }
  KVAULT_UNROLL
  for (u32 k = 0; k < kDimsPerThread; ++k) {
    const u32 dim = thread_index() + k * kAttendThreads;
    if (dim < params.value_dim) shared.row[dim] = coded[k];
  }
  sync_block();
  rotate_rows_back(shared.row, 1, params.value_rotation);
  const SequenceEntry sequence = params.sequences[tile.sequence];
  const u32 group = params.n_head / params.n_kv_head;
  const u32 tile_row = tile.first_row + column;
  const std::size_t row =
      std::size_t{tile_row / group} * params.n_head + tile.kv_head * group + tile_row % group;
  KVAULT_UNROLL
  for (u32 k = 0; k < kDimsPerThread; ++k) {
    const u32 dim = thread_index() + k * kAttendThreads;
    if (dim >= params.value_dim) continue;
    const float value = raw[k] + shared.row[dim] * params.value_rotation.scaled_signs[dim];
    sequence.out[row * params.value_dim + dim] = sum > 0 ? value / sum : 0.0F;
  }
  if (thread_index() == 0 && sequence.lse != nullptr) {
    sequence.lse[row] = sum > 0 ? (maximum + log2f(sum)) * kLn2 : bits_as_float(kMinusInfinity);
  }
}

}  // namespace kvault::cuda
