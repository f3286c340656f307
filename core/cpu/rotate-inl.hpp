// The rotation of rows for one instruction set, to be included by sources that Highway compiles
// once per target: after foreach_target.h, outside of HWY_BEFORE_NAMESPACE.
#if defined(KVAULT_CORE_CPU_ROTATE_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef KVAULT_CORE_CPU_ROTATE_INL_HPP
#undef KVAULT_CORE_CPU_ROTATE_INL_HPP
#else
#define KVAULT_CORE_CPU_ROTATE_INL_HPP
#endif

#include <algorithm>
#include <cstddef>

#include "core/base/assert.hpp"
#include "core/codec/rotation.hpp"
#include "core/cpu/simd_targets.hpp"

#include <hwy/highway.h>

#include "core/cpu/row_types-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {
namespace rotate {

/// Vectors that a run of the Sylvester transform keeps in registers at once.
inline constexpr std::size_t kRunVectorMax = HWY_TARGET == HWY_AVX3_DL ? 16 : 8;

/// Rows are read through a Source and written through a Target, so that what comes before and after
/// the transform costs no pass of its own.
template <class T>
struct ScaledSource {
  const T* row;
  const float* factor;
  HWY_INLINE RowVector Load(std::size_t at) const {
    return hn::Mul(LoadAsFloats(row + at), hn::LoadU(RowFloats(), factor + at));
  }
};

struct PlainSource {
  const float* row;
  HWY_INLINE RowVector Load(std::size_t at) const { return hn::LoadU(RowFloats(), row + at); }
};

template <class T>
struct ScaledTarget {
  T* row;
  const float* factor;
  HWY_INLINE void Store(RowVector v, std::size_t at) const {
    StoreFloats(hn::Mul(v, hn::LoadU(RowFloats(), factor + at)), row + at);
  }
};

struct PlainTarget {
  float* row;
  HWY_INLINE void Store(RowVector v, std::size_t at) const { hn::StoreU(v, RowFloats(), row + at); }
};

/// Lanes i and i ^ kHalf exchanged.
template <std::size_t kHalf>
HWY_INLINE RowVector SwapHalves(RowVector v) {
  if constexpr (kHalf == 1) return hn::Shuffle2301(v);
  if constexpr (kHalf == 2) return hn::Shuffle1032(v);
  if constexpr (kHalf == 4) return hn::SwapAdjacentBlocks(v);
  return hn::ConcatLowerUpper(RowFloats(), v, v);
}

/// The stage whose butterflies join lanes i and i + kHalf: a + b there and a - b here.
template <std::size_t kHalf, std::size_t kVector>
HWY_INLINE void JoinLanes(RowVector (&v)[kVector]) {
  alignas(64) static constexpr float kSigns[4][16] = {
      {1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1},
      {1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1},
      {1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1},
      {1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1}};
  constexpr std::size_t kRow = kHalf == 1 ? 0 : kHalf == 2 ? 1 : kHalf == 4 ? 2 : 3;
  const RowVector signs = hn::Load(RowFloats(), kSigns[kRow]);
  HWY_UNROLL(16)
  for (std::size_t i = 0; i < kVector; ++i) v[i] = hn::MulAdd(v[i], signs, SwapHalves<kHalf>(v[i]));
}

/// The stage whose butterflies join vectors i and i + kHalf.
template <std::size_t kHalf, std::size_t kVector>
HWY_INLINE void JoinVectors(RowVector (&v)[kVector]) {
  HWY_UNROLL(16)
  for (std::size_t i = 0; i < kVector; ++i) {
    if ((i & kHalf) == 0) {
      const RowVector low = v[i];
      const RowVector high = v[i + kHalf];
      v[i] = hn::Add(low, high);
      v[i + kHalf] = hn::Sub(low, high);
    }
  }
}

/// Runs of kLaneOrder lanes, joined over kVector vectors: the transform of a run that begins at
/// `at`.
template <std::size_t kLaneOrder, std::size_t kVector, class Source, class Target>
HWY_INLINE void TransformRun(const Source& source, const Target& target, std::size_t at) {
  RowVector v[kVector];
  HWY_UNROLL(16)
  for (std::size_t i = 0; i < kVector; ++i) v[i] = source.Load(at + i * kRowLane);
  JoinLanes<1>(v);
  JoinLanes<2>(v);
  if constexpr (kLaneOrder > 4) JoinLanes<4>(v);
  if constexpr (kLaneOrder > 8) JoinLanes<8>(v);
  if constexpr (kVector > 1) JoinVectors<1>(v);
  if constexpr (kVector > 2) JoinVectors<2>(v);
  if constexpr (kVector > 4) JoinVectors<4>(v);
  if constexpr (kVector > 8) JoinVectors<8>(v);
  HWY_UNROLL(16)
  for (std::size_t i = 0; i < kVector; ++i) target.Store(v[i], at + i * kRowLane);
}

template <std::size_t kLaneOrder, std::size_t kVector, class Source, class Target>
HWY_INLINE void TransformRuns(const Source& source, const Target& target, std::size_t n_dim) {
  for (std::size_t at = 0; at < n_dim; at += kVector * kRowLane) {
    TransformRun<kLaneOrder, kVector>(source, target, at);
  }
}

/// The stage whose butterflies join values i and i + half, in memory.
template <class Target>
HWY_INLINE void JoinRuns(const float* row, const Target& target, std::size_t n_dim,
                         std::size_t half) {
  const RowFloats d;
  for (std::size_t base = 0; base < n_dim; base += 2 * half) {
    for (std::size_t at = base; at < base + half; at += kRowLane) {
      const RowVector low = hn::LoadU(d, row + at);
      const RowVector high = hn::LoadU(d, row + at + half);
      target.Store(hn::Add(low, high), at);
      target.Store(hn::Sub(low, high), at + half);
    }
  }
}

/// The unnormalised Sylvester transform of every run of `order` values of a row. `work` [n_dim] may
/// be the source's or the target's memory.
template <class Source, class Target>
HWY_INLINE void TransformRow(std::size_t n_dim, std::size_t order, const Source& source,
                             const Target& target, float* work) {
  constexpr std::size_t kRun = kRunVectorMax * kRowLane;
  if (order < kRowLane) {
    if (order == 4) return TransformRuns<4, 1>(source, target, n_dim);
    return TransformRuns<8, 1>(source, target, n_dim);
  }
  switch (order / kRowLane) {
    case 1:
      return TransformRuns<kRowLane, 1>(source, target, n_dim);
    case 2:
      return TransformRuns<kRowLane, 2>(source, target, n_dim);
    case 4:
      return TransformRuns<kRowLane, 4>(source, target, n_dim);
    case 8:
      return TransformRuns<kRowLane, 8>(source, target, n_dim);
    default:
      break;
  }
  if (order == kRun) return TransformRuns<kRowLane, kRunVectorMax>(source, target, n_dim);
  TransformRuns<kRowLane, kRunVectorMax>(source, PlainTarget{work}, n_dim);
  std::size_t half = kRun;
  for (; 2 * half < order; half *= 2) JoinRuns(work, PlainTarget{work}, n_dim, half);
  JoinRuns(work, target, n_dim, half);
}

/// The Paley factor, a dense matrix of signs: as a product with a panel of columns, the runs of
/// several rows side by side.
inline constexpr std::size_t kPaleyMax = 28;
inline constexpr std::size_t kPanelColumn = 64;

struct PaleyPanel {
  alignas(64) float in[kPaleyMax][kPanelColumn];
  alignas(64) float out[kPaleyMax][kPanelColumn];
};

/// out[a] = sum over b of sign(a, b) in[b], for four a and two vectors of columns at a time.
HWY_INLINE void MultiplyPanel(const float* signs, std::size_t m, std::size_t step_a,
                              std::size_t step_b, std::size_t n_column, PaleyPanel& panel) {
  constexpr std::size_t kTile = 4;
  const RowFloats d;
  for (std::size_t column = 0; column < n_column; column += 2 * kRowLane) {
    for (std::size_t a = 0; a < m; a += kTile) {
      RowVector low[kTile];
      RowVector high[kTile];
      HWY_UNROLL(4)
      for (std::size_t i = 0; i < kTile; ++i) low[i] = high[i] = hn::Zero(d);
      for (std::size_t b = 0; b < m; ++b) {
        const RowVector x = hn::Load(d, panel.in[b] + column);
        const RowVector y = hn::Load(d, panel.in[b] + column + kRowLane);
        HWY_UNROLL(4)
        for (std::size_t i = 0; i < kTile; ++i) {
          const RowVector sign = hn::Set(d, signs[(a + i) * step_a + b * step_b]);
          low[i] = hn::MulAdd(sign, x, low[i]);
          high[i] = hn::MulAdd(sign, y, high[i]);
        }
      }
      HWY_UNROLL(4)
      for (std::size_t i = 0; i < kTile; ++i) {
        hn::Store(low[i], d, panel.out[a + i] + column);
        hn::Store(high[i], d, panel.out[a + i] + column + kRowLane);
      }
    }
  }
}

/// target[0..kRun) = source[0..kRun)
template <std::size_t kRun>
HWY_INLINE void CopyRun(const float* source, float* target) {
  const hn::CappedTag<float, 4> d;
  HWY_UNROLL(4)
  for (std::size_t i = 0; i < kRun; i += 4) hn::StoreU(hn::LoadU(d, source + i), d, target + i);
}

/// Rows whose Sylvester runs have kRun values, so many at a time as fill the panel.
template <std::size_t kRun>
HWY_INLINE void MultiplyPaleyRows(const Rotation& rotation, bool is_transposed, float* rows,
                                  std::size_t n_row, std::size_t stride) {
  constexpr std::size_t kTogether = kPanelColumn / kRun;
  const std::size_t m = rotation.factors().paley_order;
  PaleyPanel panel;
  for (std::size_t first = 0; first < n_row; first += kTogether) {
    const std::size_t count = std::min(kTogether, n_row - first);
    const std::size_t n_column =
        (count * kRun + 2 * kRowLane - 1) / (2 * kRowLane) * (2 * kRowLane);
    for (std::size_t i = 0; i < count; ++i) {
      const float* const row = rows + (first + i) * stride;
      for (std::size_t b = 0; b < m; ++b) CopyRun<kRun>(row + b * kRun, panel.in[b] + i * kRun);
    }
    for (std::size_t b = 0; b < m && count < kTogether; ++b) {
      std::fill(panel.in[b] + count * kRun, panel.in[b] + n_column, 0.0F);
    }
    MultiplyPanel(rotation.paley_signs().data(), m, is_transposed ? 1 : m, is_transposed ? m : 1,
                  n_column, panel);
    for (std::size_t i = 0; i < count; ++i) {
      float* const row = rows + (first + i) * stride;
      for (std::size_t a = 0; a < m; ++a) CopyRun<kRun>(panel.out[a] + i * kRun, row + a * kRun);
    }
  }
}

HWY_INLINE void MultiplyPaley(const Rotation& rotation, bool is_transposed, float* rows,
                              std::size_t n_row, std::size_t stride) {
  switch (rotation.factors().sylvester_order) {
    case 4:
      return MultiplyPaleyRows<4>(rotation, is_transposed, rows, n_row, stride);
    case 8:
      return MultiplyPaleyRows<8>(rotation, is_transposed, rows, n_row, stride);
    case 16:
      return MultiplyPaleyRows<16>(rotation, is_transposed, rows, n_row, stride);
    default:
      KVAULT_ASSERT(false);
  }
}

}  // namespace rotate

/// rows [n_row, stride] = H (factor x source), source [n_row, source_stride] of float, f16 or bf16,
/// possibly the rows themselves. With factor = scaled_signs() that is the rotation.
template <class T>
HWY_INLINE void RotateScaled(const Rotation& rotation, const T* source, std::size_t source_stride,
                             const float* factor, float* rows, std::size_t n_row,
                             std::size_t stride) {
  const HadamardFactors factors = rotation.factors();
  for (std::size_t i = 0; i < n_row; ++i) {
    float* const row = rows + i * stride;
    rotate::TransformRow(rotation.head_dim(), factors.sylvester_order,
                         rotate::ScaledSource<T>{source + i * source_stride, factor},
                         rotate::PlainTarget{row}, row);
  }
  if (factors.paley_order > 1) rotate::MultiplyPaley(rotation, false, rows, n_row, stride);
}

/// target [n_row, target_stride] = factor x (H^T rows), the inverse where factor = scaled_signs().
/// The rows are overwritten; the target may be the rows themselves.
template <class T>
HWY_INLINE void RotateScaledInverse(const Rotation& rotation, float* rows, std::size_t n_row,
                                    std::size_t stride, const float* factor, T* target,
                                    std::size_t target_stride) {
  const HadamardFactors factors = rotation.factors();
  if (factors.paley_order > 1) rotate::MultiplyPaley(rotation, true, rows, n_row, stride);
  for (std::size_t i = 0; i < n_row; ++i) {
    float* const row = rows + i * stride;
    rotate::TransformRow(rotation.head_dim(), factors.sylvester_order, rotate::PlainSource{row},
                         rotate::ScaledTarget<T>{target + i * target_stride, factor}, row);
  }
}

/// Each row x becomes H S x.
HWY_INLINE void RotateRows(const Rotation& rotation, float* rows, std::size_t n_row,
                           std::size_t stride) {
  RotateScaled(rotation, rows, stride, rotation.scaled_signs().data(), rows, n_row, stride);
}

/// Each row y becomes S H^T y.
HWY_INLINE void RotateRowsInverse(const Rotation& rotation, float* rows, std::size_t n_row,
                                  std::size_t stride) {
  RotateScaledInverse(rotation, rows, n_row, stride, rotation.scaled_signs().data(), rows, stride);
}

}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
