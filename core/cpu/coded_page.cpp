#include <type_traits>

#include "core/cpu/attend_kernels.hpp"
#include "core/cpu/simd_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/coded_page.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/cpu/unpack-inl.hpp"

// A block is unpacked strip by strip, and every strip multiplied by all rows while it is in the
// first-level cache. The integer products: kRow rows of the other side by kVector vectors of items,
// sums held in registers over all steps. A load of the tile serves kRow dot products per plane.

HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {
namespace {

template <std::size_t kRow, std::size_t kVector>
struct Strip {
  Sums sum[kRow][kPlanes][kVector];

  /// One number of the digits: the high plane counts 256 times.
  HWY_INLINE hn::Vec<FloatTag> total(std::size_t row, std::size_t vector) const {
    Sums whole = sum[row][0][vector];
    if constexpr (kPlanes == 2) whole = hn::Add(hn::ShiftLeft<8>(whole), sum[row][1][vector]);
    return hn::ConvertTo(FloatTag(), whole);
  }
};

template <Side kSide, std::size_t kPlane, std::size_t kRow, std::size_t kVector>
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
        sum = kSide == Side::key ? DotKey(sum, cells[v], digits) : DotValue(sum, cells[v], digits);
      }
    }
  }
}

/// kPlane: cells of a plane of the other side. A strip has a multiple of four steps.
template <Side kSide, std::size_t kPlane, std::size_t kRow, std::size_t kVector>
HWY_INLINE void AccumulateStrip(const std::uint32_t* tile, std::size_t n_item, std::size_t n_step,
                                const std::uint32_t* other, Prefetcher& prefetcher,
                                Strip<kRow, kVector>& strip) {
  for (std::size_t step = 0; step < n_step; step += 4, tile += 4 * n_item, other += 4) {
    prefetcher.advance(4);
    KVAULT_UNROLL
    for (std::size_t i = 0; i < 4; ++i) {
      AccumulateStep<kSide, kPlane>(tile + i * n_item, other + i, strip);
    }
  }
}

/// Tokens [token, token + kVector * kLanes) of the strip that starts at `first`.
template <std::size_t kRow, std::size_t kVector>
HWY_INLINE void KeyProducts(const KeyLogits& args, std::size_t row, std::size_t first,
                            std::size_t token, Prefetcher& prefetcher) {
  const SumTag d_sum;
  const FloatTag d;
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
  AccumulateStrip<Side::key, kQueryCells>(args.tile + token, kKeyStrip, args.n_step,
                                          args.query + row * kPlanes * kQueryCells, prefetcher,
                                          strip);
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) {
    const auto half = hn::Set(d, args.rows[row + r].half);
    const auto factor = hn::Set(d, args.rows[row + r].factor);
    const auto offset = hn::Set(d, args.offset[row + r]);
    float* const logits = args.logits + (row + r) * kPageTokens + first + token;
    KVAULT_UNROLL
    for (std::size_t v = 0; v < kVector; ++v) {
      const auto token_factor = hn::Load(d, args.token_factor + first + token + v * kLanes);
      const auto sum = hn::Mul(hn::Add(strip.total(r, v), half), token_factor);
      hn::Store(hn::MulAdd(sum, factor, offset), d, logits + v * kLanes);
    }
  }
}

/// Dims [dim, dim + kVector * kLanes) of the strip of n_dim that starts at `first`.
template <std::size_t kRow, std::size_t kVector>
HWY_INLINE void ValueProducts(const ValueSums& args, std::size_t row, std::size_t first,
                              std::size_t n_dim, std::size_t dim, Prefetcher& prefetcher) {
  const FloatTag d;
  Strip<kRow, kVector> strip;
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) {
    KVAULT_UNROLL
    for (std::size_t plane = 0; plane < kPlanes; ++plane) {
      KVAULT_UNROLL
      for (std::size_t v = 0; v < kVector; ++v) strip.sum[r][plane][v] = hn::Zero(SumTag());
    }
  }
  AccumulateStrip<Side::value, kWeightCells>(args.tile + dim, n_dim, kQuads * kStepsPerQuad,
                                             args.weights + row * kPlanes * kWeightCells,
                                             prefetcher, strip);
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) {
    const auto factor = hn::Set(d, args.factor[row + r]);
    float* const out = args.out + (row + r) * args.stride + first + dim;
    KVAULT_UNROLL
    for (std::size_t v = 0; v < kVector; ++v) {
      const auto before = hn::Load(d, out + v * kLanes);
      hn::Store(hn::MulAdd(strip.total(r, v), factor, before), d, out + v * kLanes);
    }
  }
}

/// Few rows take more vectors, so that enough sums are in flight to hide the latency of a dot
/// product.
constexpr std::size_t VectorsFor(std::size_t n_row) { return n_row >= 4 ? 2 : 4; }

template <std::size_t kRow>
void KeyRows(const KeyLogits& args, std::size_t row, std::size_t first, Prefetcher& prefetcher) {
  constexpr std::size_t kVector = VectorsFor(kRow);
  static_assert(kKeyStrip % (kVector * kLanes) == 0);
  for (std::size_t token = 0; token < kKeyStrip; token += kVector * kLanes) {
    KeyProducts<kRow, kVector>(args, row, first, token, prefetcher);
  }
}

template <std::size_t kRow>
void ValueRows(const ValueSums& args, std::size_t row, std::size_t first, std::size_t n_dim,
               Prefetcher& prefetcher) {
  constexpr std::size_t kVector = VectorsFor(kRow);
  std::size_t dim = 0;
  for (; dim + kVector * kLanes <= n_dim; dim += kVector * kLanes) {
    ValueProducts<kRow, kVector>(args, row, first, n_dim, dim, prefetcher);
  }
  for (; dim < n_dim; dim += 2 * kLanes) {
    ValueProducts<kRow, 2>(args, row, first, n_dim, dim, prefetcher);
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

/// Work of the first group of rows over a block, for its Prefetcher: a step of the products is 1,
/// kUnpackWork is what a load of an unpack loop takes beside it.
constexpr std::size_t WorkOf(std::size_t n_row, std::size_t n_item, std::size_t n_step,
                             std::size_t n_unpack) {
  const std::size_t n_strip = n_item / (VectorsFor(n_row) * kLanes);
  return (n_strip == 0 ? 1 : n_strip) * n_step + n_unpack * kUnpackWork;
}

void ComputeKeyLogits(const KeyLogits& args) {
  const std::size_t n_unpack = KeyLoads(args.codes);
  Prefetcher prefetcher(args.ahead, WorkOf(args.n_row, kPageTokens, args.n_step, n_unpack));
  for (std::size_t first = 0; first < kPageTokens; first += kKeyStrip) {
    switch (args.codes.scheme) {
      case Scheme::q8:
        UnpackKeyStrip<Scheme::q8>(args.codes, first, args.tile, prefetcher);
        break;
      case Scheme::tq4:
        UnpackKeyStrip<Scheme::tq4>(args.codes, first, args.tile, prefetcher);
        break;
      case Scheme::tq3:
        UnpackKeyStrip<Scheme::tq3>(args.codes, first, args.tile, prefetcher);
        break;
      case Scheme::tq2:
        UnpackKeyStrip<Scheme::tq2>(args.codes, first, args.tile, prefetcher);
        break;
      case Scheme::raw:
        return;
    }
    ForRowGroups(args.n_row, prefetcher, [&](auto count, std::size_t row, Prefetcher& ahead) {
      KeyRows<decltype(count)::value>(args, row, first, ahead);
    });
  }
}

void AddValueSums(const ValueSums& args) {
  const std::size_t dim_end = args.codes.padded_dim;
  const std::size_t n_unpack = ValueLoads(args.codes);
  Prefetcher prefetcher(args.ahead, WorkOf(args.n_row, dim_end, kQuads * kStepsPerQuad, n_unpack));
  for (std::size_t first = 0; first < dim_end; first += kValueStrip) {
    const std::size_t n_dim = first + kValueStrip <= dim_end ? kValueStrip : dim_end - first;
    switch (args.codes.scheme) {
      case Scheme::q8:
        UnpackBytesStrip(args.codes, first, n_dim, args.tile, prefetcher);
        break;
      case Scheme::tq4:
        UnpackValueStrip<Scheme::tq4>(args.codes, first, n_dim, args.tile, prefetcher);
        break;
      case Scheme::tq3:
        UnpackValueStrip<Scheme::tq3>(args.codes, first, n_dim, args.tile, prefetcher);
        break;
      case Scheme::tq2:
        UnpackValueStrip<Scheme::tq2>(args.codes, first, n_dim, args.tile, prefetcher);
        break;
      case Scheme::raw:
        return;
    }
    ForRowGroups(args.n_row, prefetcher, [&](auto count, std::size_t row, Prefetcher& ahead) {
      ValueRows<decltype(count)::value>(args, row, first, n_dim, ahead);
    });
  }
}

CodedKernels Kernels() { return {kForm, &ComputeKeyLogits, &AddValueSums}; }

}  // namespace
}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvault::cpu {

CodedKernels coded_kernels(InstructionSet set) {
  static constexpr CodedKernels (*kTable[])() = KVAULT_SIMD_TABLE(Kernels);
  return kTable[static_cast<std::size_t>(set)]();
}

}  // namespace kvault::cpu
#endif
