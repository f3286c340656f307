#pragma once

#include "gpu_cuda/kernels/block.cuh"
#include "gpu_cuda/kernels/turned_rows.cuh"

// The raw rows of a page, as the rotation takes them: equalised, and less their mean.

namespace kvault::cuda {

/// What rows are multiplied by, and what is then taken off, [head_dim] each.
template <u32 kHeadDim>
struct RowChange {
  float factor[kHeadDim];  ///< diagonal of the rotation times equaliser
  float mean[kHeadDim];    ///< the rounded mean, rotated back
};

/// The outer values of a lane of a RowTurner, of one token after another.
template <u32 kHeadDim>
class RowSource {
 public:
  using Shape = RowShape<kHeadDim>;

  KVAULT_DEVICE RowSource(const std::byte* rows, u32 format, const RowTurner<kHeadDim>& turner,
                          const RowChange<kHeadDim>& change)
      : rows_(rows), format_(format), turner_(turner) {
    KVAULT_UNROLL
    for (u32 i = 0; i < Shape::kOuterValues; ++i) {
      const u32 dim = turner.dim_of(i / Shape::kAdjacent) + i % Shape::kAdjacent;
      factor_[i] = turner.has_outer() ? change.factor[dim] : 0.0F;
      mean_[i] = turner.has_outer() ? change.mean[dim] : 0.0F;
    }
  }

  /// x * factor; 0 in lanes that have no outer values.
  KVAULT_DEVICE void load_equalised(u32 token, float (&value)[Shape::kOuterValues]) const {
    load(token, value);
    KVAULT_UNROLL
    for (u32 i = 0; i < Shape::kOuterValues; ++i) value[i] *= factor_[i];
  }
  /// x * factor - mean
  KVAULT_DEVICE void load_centred(u32 token, float (&value)[Shape::kOuterValues]) const {
    load(token, value);
    KVAULT_UNROLL
    for (u32 i = 0; i < Shape::kOuterValues; ++i) {
      value[i] = fused_multiply_add(value[i], factor_[i], -mean_[i]);
    }
  }
  KVAULT_DEVICE float mean(u32 i) const { return mean_[i]; }

 private:
  KVAULT_DEVICE void load(u32 token, float (&value)[Shape::kOuterValues]) const {
    KVAULT_UNROLL
    for (u32 i = 0; i < Shape::kOuterValues; ++i) value[i] = 0;
    if (!turner_.has_outer()) return;
    with_raw_format(format_, [&](auto raw) {
      const std::byte* const first = rows_ + (token * kHeadDim + turner_.dim_of(0)) * raw.kBytes;
      KVAULT_UNROLL
      for (u32 outer = 0; outer < Shape::kOuter; ++outer) {
        load_adjacent(raw, first, outer * Shape::kStride, value + outer * Shape::kAdjacent);
      }
    });
  }
  template <class Raw>
  KVAULT_DEVICE static void load_adjacent(Raw raw, const std::byte* first, u32 index,
                                          float* value) {
    if constexpr (Shape::kAdjacent == 1) {
      *value = raw.at(first, index);
    } else {
      KVAULT_UNROLL
      for (u32 i = 0; i < Shape::kAdjacent; i += 2) {
        const float2 pair = raw.pair_at(first, index + i);
        value[i] = pair.x;
        value[i + 1] = pair.y;
      }
    }
  }

  const std::byte* rows_;
  u32 format_;
  const RowTurner<kHeadDim>& turner_;
  float factor_[Shape::kOuterValues];
  float mean_[Shape::kOuterValues];
};

}  // namespace kvault::cuda
