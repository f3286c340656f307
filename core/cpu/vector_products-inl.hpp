// The integer products of a strip in vector registers; attend_kernels.hpp says what a tile is. Once
// per instruction set.
#if defined(KVAULT_CPU_VECTOR_PRODUCTS_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef KVAULT_CPU_VECTOR_PRODUCTS_INL_HPP
#undef KVAULT_CPU_VECTOR_PRODUCTS_INL_HPP
#else
#define KVAULT_CPU_VECTOR_PRODUCTS_INL_HPP
#endif

#include <type_traits>

#include "core/cpu/simd_targets.hpp"
#include "core/cpu/sums-inl.hpp"
#include "core/cpu/unpack-inl.hpp"

// kRow rows of the other side by kVector vectors of items, sums held in registers over all steps. A
// load of the tile serves kRow dot products per plane.

HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {
namespace {

/// Tokens of a tile of keys and dims of a tile of values: a strip stays in the first-level cache
/// beside everything else that a page needs.
constexpr std::size_t kVectorStrip = kForm == CellForm::bytes ? 64 : 32;

template <std::size_t kRow, std::size_t kVector>
struct Strip {
  Sums sum[kRow][kPlanes][kVector];

  HWY_INLINE Sums total(std::size_t row, std::size_t vector) const {
    const Sums first = sum[row][0][vector];
    if constexpr (kPlanes == 2) return JoinPlanes(first, sum[row][1][vector]);
    return first;
  }
};

template <class AnyDot, Side kSide, std::size_t kPlane, std::size_t kRow, std::size_t kVector>
HWY_INLINE void AccumulateStep(const std::uint32_t* tile, const std::uint32_t* other,
                               Strip<kRow, kVector>& strip) {
  const CellTag d;
  Cells cells[kVector];
  KVAULT_UNROLL
  for (std::size_t v = 0; v < kVector; ++v) cells[v] = hn::Load(d, tile + v * kLanes);
  KVAULT_UNROLL
  for (std::size_t row = 0; row < kRow; ++row) {
    KVAULT_UNROLL
    for (std::size_t plane = 0; plane < kPlanes; ++plane) {
      const Cells digits = hn::Set(d, other[(row * kPlanes + plane) * kPlane]);
      KVAULT_UNROLL
      for (std::size_t v = 0; v < kVector; ++v) {
        Sums& sum = strip.sum[row][plane][v];
        sum = kSide == Side::key ? AnyDot::key(sum, cells[v], digits)
                                 : AnyDot::value(sum, cells[v], digits);
      }
    }
  }
}

/// kPlane: cells of a plane of the other side. A strip has a multiple of four steps.
template <class AnyDot, Side kSide, std::size_t kPlane, std::size_t kRow, std::size_t kVector>
HWY_INLINE void AccumulateStrip(const std::uint32_t* tile, std::size_t n_step,
                                const std::uint32_t* other, Prefetcher& shared_prefetcher,
                                Strip<kRow, kVector>& strip) {
  Prefetcher prefetcher = shared_prefetcher;  // in registers
  for (std::size_t step = 0; step < n_step; step += 4, tile += 4 * kVectorStrip, other += 4) {
    prefetcher.advance();
    KVAULT_UNROLL
    for (std::size_t i = 0; i < 4; ++i) {
      AccumulateStep<AnyDot, kSide, kPlane>(tile + i * kVectorStrip, other + i, strip);
    }
  }
  shared_prefetcher = prefetcher;
}

/// Tokens [token, token + kVector * kLanes) of the strip that starts at `first`.
template <class AnyDot, std::size_t kRow, std::size_t kVector>
HWY_INLINE void KeyProducts(const KeyLogits& args, std::size_t row, std::size_t first,
                            std::size_t token, Prefetcher& prefetcher) {
  const SumTag d_sum;
  Strip<kRow, kVector> strip;
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) {
    KVAULT_UNROLL
    for (std::size_t plane = 0; plane < kPlanes; ++plane) {
      const Sums start = hn::Set(d_sum, args.rows[row + r].start[plane]);
      KVAULT_UNROLL
      for (std::size_t v = 0; v < kVector; ++v) strip.sum[r][plane][v] = start;
    }
  }
  AccumulateStrip<AnyDot, Side::key, kQueryCells>(
      args.tile + token, args.n_step, args.query + row * kPlanes * kQueryCells, prefetcher, strip);
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) {
    const LogitsOf logits(args, row + r);
    KVAULT_UNROLL
    for (std::size_t v = 0; v < kVector; ++v) {
      logits.store(first + token + v * kLanes, strip.total(r, v));
    }
  }
}

/// Dims [dim, dim + kVector * kLanes) of the strip that starts at `first`.
template <class AnyDot, std::size_t kRow, std::size_t kVector>
HWY_INLINE void ValueProducts(const ValueSums& args, std::size_t row, std::size_t first,
                              std::size_t dim, Prefetcher& prefetcher) {
  Strip<kRow, kVector> strip;
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) {
    KVAULT_UNROLL
    for (std::size_t plane = 0; plane < kPlanes; ++plane) {
      KVAULT_UNROLL
      for (std::size_t v = 0; v < kVector; ++v) strip.sum[r][plane][v] = hn::Zero(SumTag());
    }
  }
  AccumulateStrip<AnyDot, Side::value, kWeightCells>(args.tile + dim, kQuads * kStepsPerQuad,
                                                     args.weights + row * kPlanes * kWeightCells,
                                                     prefetcher, strip);
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) {
    const OutputOf output(args, row + r);
    KVAULT_UNROLL
    for (std::size_t v = 0; v < kVector; ++v) {
      output.add(first + dim + v * kLanes, strip.total(r, v));
    }
  }
}

/// Few rows take more vectors, so that enough sums are in flight to hide the latency of a dot
/// product.
constexpr std::size_t VectorsFor(std::size_t n_row) { return n_row >= 4 ? 2 : 4; }

template <class AnyDot, std::size_t kRow>
void KeyRows(const KeyLogits& args, std::size_t row, std::size_t first, Prefetcher& prefetcher) {
  constexpr std::size_t kVector = VectorsFor(kRow);
  static_assert(kVectorStrip % (kVector * kLanes) == 0);
  for (std::size_t token = 0; token < kVectorStrip; token += kVector * kLanes) {
    KeyProducts<AnyDot, kRow, kVector>(args, row, first, token, prefetcher);
  }
}

template <class AnyDot, std::size_t kRow>
void ValueRows(const ValueSums& args, std::size_t row, std::size_t first, std::size_t n_dim,
               Prefetcher& prefetcher) {
  constexpr std::size_t kVector = VectorsFor(kRow);
  std::size_t dim = 0;
  for (; dim + kVector * kLanes <= n_dim; dim += kVector * kLanes) {
    ValueProducts<AnyDot, kRow, kVector>(args, row, first, dim, prefetcher);
  }
  for (; dim < n_dim; dim += 2 * kLanes) {
    ValueProducts<AnyDot, kRow, 2>(args, row, first, dim, prefetcher);
  }
}

/// Calls rows(std::integral_constant<n>, first row) for groups of rows; only the first group may
/// ask for memory.
template <class Rows>
HWY_INLINE void ForRowGroups(std::size_t n_row, Prefetcher& prefetcher, const Rows& rows) {
  Prefetcher none;
  const auto at = [&](std::size_t row) -> Prefetcher& { return row == 0 ? prefetcher : none; };
  std::size_t row = 0;
  for (; row + 4 <= n_row; row += 4) rows(std::integral_constant<std::size_t, 4>(), row, at(row));
  for (; row + 2 <= n_row; row += 2) rows(std::integral_constant<std::size_t, 2>(), row, at(row));
  for (; row < n_row; ++row) rows(std::integral_constant<std::size_t, 1>(), row, at(row));
}

template <class AnyDot>
struct VectorProducts {
  static constexpr std::size_t kStrip = kVectorStrip;
  /// A tile is [n_step][kStrip].
  static constexpr std::size_t kStepStride = kVectorStrip;
  static constexpr std::size_t vector_stride(std::size_t) { return kLanes; }

  /// Logits of tokens [first, first + kStrip), whose cells are in the tile.
  static HWY_INLINE void take_keys(const KeyLogits& args, std::size_t first,
                                   Prefetcher& prefetcher) {
    ForRowGroups(args.n_row, prefetcher, [&](auto count, std::size_t row, Prefetcher& ahead) {
      KeyRows<AnyDot, decltype(count)::value>(args, row, first, ahead);
    });
  }
  /// Sums of dims [first, first + n_dim), whose cells are in the tile.
  static HWY_INLINE void take_values(const ValueSums& args, std::size_t first, std::size_t n_dim,
                                     Prefetcher& prefetcher) {
    ForRowGroups(args.n_row, prefetcher, [&](auto count, std::size_t row, Prefetcher& ahead) {
      ValueRows<AnyDot, decltype(count)::value>(args, row, first, n_dim, ahead);
    });
  }
};

}  // namespace
}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
