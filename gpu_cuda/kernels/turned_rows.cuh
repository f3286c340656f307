#pragma once

#include "gpu_cuda/kernel_abi.hpp"
#include "gpu_cuda/kernels/rotate.cuh"

// The rotation y = H S x of rows of one head_dim, and its inverse (docs/format.md, "The rotation"),
// by the lanes of a warp that have a row among them. H is an outer transform of dims that are
// kStride apart and an inner one of neighbours; for each a lane has all dims of a transform in
// registers, and between the two the lanes of a row change places through shared memory.

namespace kvault::cuda {

constexpr u32 kChunk = 16;  ///< neighbouring dims of a lane

template <u32 kHeadDim>
struct RowShape {
  static constexpr u32 kPaley = paley_order_of(kHeadDim);
  static constexpr u32 kStride = kPaley > 1 ? kHeadDim / kPaley
                                            : (kHeadDim > 256 ? kHeadDim / kChunk : kChunk);
  static constexpr u32 kOuter = kHeadDim / kStride;  ///< order of the outer transform
  /// Neighbouring outer transforms of a lane.
  static constexpr u32 kAdjacent = kPaley > 1 ? 1 : kChunk / kOuter;
  static constexpr u32 kOuterValues = kOuter * kAdjacent;
  static constexpr u32 kOuterLanes = kStride / kAdjacent;
  static constexpr u32 kInner = kStride < kChunk ? kStride : kChunk;
  static constexpr u32 kChunks = kHeadDim / kChunk;
  static constexpr u32 kLanes = lanes_of_row(kHeadDim);
  /// Floats of a row in shared memory, with gaps between its chunks and after the row: eight lanes
  /// that read their chunks, and rows that a warp writes at once, meet in no bank.
  static constexpr u32 kChunkFloats = kChunk + 4;
  static constexpr u32 kRowFloats =
      kChunks * kChunkFloats + (kChunks * kChunkFloats % 32 == 0 ? kChunk : 0);
  static constexpr u32 kThreads = row_threads(kHeadDim);
  static constexpr u32 kExchangeFloats = kThreads / kLanes * kRowFloats;
  /// Of a multiprocessor of 65536 registers.
  static constexpr u32 kBlocksAtOnce = kPaley == 1 ? 512 / kThreads : kPaley < 28 ? 3 : 2;
  static_assert(kStride <= 2 * kChunk && kOuterLanes <= kLanes);
};

/// P times the values, or its transpose; signs [kOrder, kOrder].
template <u32 kOrder>
KVAULT_DEVICE void multiply_paley(float (&value)[kOrder], const float* signs, bool is_transposed) {
  float sum[kOrder];
  KVAULT_UNROLL
  for (u32 row = 0; row < kOrder; ++row) {
    sum[row] = 0;
    KVAULT_UNROLL
    for (u32 column = 0; column < kOrder; ++column) {
      const u32 entry = is_transposed ? column * kOrder + row : row * kOrder + column;
      sum[row] = fused_multiply_add(signs[entry], value[column], sum[row]);
    }
  }
  KVAULT_UNROLL
  for (u32 row = 0; row < kOrder; ++row) value[row] = sum[row];
}

template <u32 kCount>
KVAULT_DEVICE void store_floats(float* target, const float* value) {
  if constexpr (kCount == 4) {
    *reinterpret_cast<float4*>(target) = {value[0], value[1], value[2], value[3]};
  } else if constexpr (kCount == 2) {
    *reinterpret_cast<float2*>(target) = {value[0], value[1]};
  } else {
    *target = value[0];
  }
}
template <u32 kCount>
KVAULT_DEVICE void load_floats(float* value, const float* source) {
  if constexpr (kCount == 4) {
    const float4 x = *reinterpret_cast<const float4*>(source);
    value[0] = x.x;
    value[1] = x.y;
    value[2] = x.z;
    value[3] = x.w;
  } else if constexpr (kCount == 2) {
    const float2 x = *reinterpret_cast<const float2*>(source);
    value[0] = x.x;
    value[1] = x.y;
  } else {
    *value = source[0];
  }
}

/// A lane's part in turning rows. Between calls, what a lane has of a row is either its outer
/// values, [kOuter][kAdjacent], or a chunk. All lanes of a warp call together.
template <u32 kHeadDim>
class RowTurner {
 public:
  using Shape = RowShape<kHeadDim>;

  /// exchange: [Shape::kExchangeFloats] of the block's
  KVAULT_DEVICE explicit RowTurner(float* exchange)
      : lane_(lane_index() % Shape::kLanes),
        row_(exchange + thread_index() / Shape::kLanes * Shape::kRowFloats) {}

  /// Of the row: which of its lanes this is.
  KVAULT_DEVICE u32 lane() const { return lane_; }
  KVAULT_DEVICE bool has_outer() const { return lane_ < Shape::kOuterLanes; }
  KVAULT_DEVICE bool has_chunk() const { return lane_ < Shape::kChunks; }
  /// Of the lane's outer values kAdjacent * outer ..: the first one's dim.
  KVAULT_DEVICE u32 dim_of(u32 outer) const {
    return outer * Shape::kStride + lane_ * Shape::kAdjacent;
  }

  /// H without its norm. chunk: 0 in lanes that have none.
  KVAULT_DEVICE void turn(float (&outer)[Shape::kOuterValues], const float* paley_signs,
                          float (&chunk)[kChunk]) const {
    transform_outer(outer, paley_signs, false);
    sync_warp();
    for_outer([&](float* at, float* value) { store_floats<kTogether>(at, value); }, outer);
    sync_warp();
    KVAULT_UNROLL
    for (u32 i = 0; i < kChunk; ++i) chunk[i] = 0;
    if (has_chunk()) {
      KVAULT_UNROLL
      for (u32 i = 0; i < kChunk; i += 4) {
        load_floats<4>(chunk + i, row_ + lane_ * Shape::kChunkFloats + i);
      }
    }
    transform_inner(chunk);
  }

  /// H^T without its norm.
  KVAULT_DEVICE void turn_back(float (&chunk)[kChunk], const float* paley_signs,
                               float (&outer)[Shape::kOuterValues]) const {
    transform_inner(chunk);
    sync_warp();
    if (has_chunk()) {
      KVAULT_UNROLL
      for (u32 i = 0; i < kChunk; i += 4) {
        store_floats<4>(row_ + lane_ * Shape::kChunkFloats + i, chunk + i);
      }
    }
    sync_warp();
    for_outer([&](float* at, float* value) { load_floats<kTogether>(value, at); }, outer);
    transform_outer(outer, paley_signs, true);
  }

 private:
  static constexpr u32 kTogether = Shape::kAdjacent < 4 ? Shape::kAdjacent : 4;

  /// Where a dim lies in shared memory.
  KVAULT_DEVICE static constexpr u32 place_of(u32 dim) {
    return dim / kChunk * Shape::kChunkFloats + dim % kChunk;
  }

  template <class Move>
  KVAULT_DEVICE void for_outer(Move move, float (&value)[Shape::kOuterValues]) const {
    if (!has_outer()) return;
    float* const first = row_ + place_of(lane_ * Shape::kAdjacent);
    KVAULT_UNROLL
    for (u32 outer = 0; outer < Shape::kOuter; ++outer) {
      KVAULT_UNROLL
      for (u32 i = 0; i < Shape::kAdjacent; i += kTogether) {
        move(first + place_of(outer * Shape::kStride) + i, value + outer * Shape::kAdjacent + i);
      }
    }
  }
  KVAULT_DEVICE static void transform_outer(float (&value)[Shape::kOuterValues],
                                            const float* paley_signs, bool is_transposed) {
    if constexpr (Shape::kPaley > 1) {
      multiply_paley<Shape::kPaley>(value, paley_signs, is_transposed);
    } else {
      add_and_subtract<Shape::kAdjacent, Shape::kOuterValues>(value);
    }
  }
  KVAULT_DEVICE void transform_inner(float (&chunk)[kChunk]) const {
    add_and_subtract<1, Shape::kInner>(chunk);
    if constexpr (Shape::kStride > kChunk) {
      const float sign = lane_ % 2 == 0 ? 1.0F : -1.0F;
      KVAULT_UNROLL
      for (u32 i = 0; i < kChunk; ++i) {
        chunk[i] = fused_multiply_add(sign, chunk[i], shuffle_xor(chunk[i], 1));
      }
    }
  }

  u32 lane_;
  float* row_;
};

/// The sum over the lanes of a row; every lane gets it.
template <u32 kLanes>
KVAULT_DEVICE float sum_of_lanes(float value) {
  KVAULT_UNROLL
  for (u32 mask = kLanes / 2; mask > 0; mask /= 2) {
    value += shuffle_xor(value, static_cast<int>(mask));
  }
  return value;
}
template <u32 kLanes>
KVAULT_DEVICE float max_of_lanes(float value) {
  KVAULT_UNROLL
  for (u32 mask = kLanes / 2; mask > 0; mask /= 2) {
    value = fmaxf(value, shuffle_xor(value, static_cast<int>(mask)));
  }
  return value;
}

}  // namespace kvault::cuda
