#include "core/cpu/attend_kernels.hpp"
#include "core/cpu/simd_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/raw_rows.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/cpu/cell-inl.hpp"

// Attention over raw rows, in float. Rows are widened once, a few tokens at a time, for all rows of
// queries. Every sum has one order, whatever is computed beside it.

HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {
namespace {

using Floats = hn::Vec<FloatTag>;
constexpr std::size_t kChunk = 8;  ///< tokens widened at a time: 16 KiB at the widest head

HWY_INLINE Floats LoadWide(const std::byte* row, RowType type, std::size_t i) {
  const FloatTag d;
  if (type == RowType::f32) return hn::LoadU(d, reinterpret_cast<const float*>(row) + i);
  if (type == RowType::f16) {
    const hn::Rebind<hwy::float16_t, FloatTag> d_half;
    return hn::PromoteTo(d, hn::LoadU(d_half, reinterpret_cast<const hwy::float16_t*>(row) + i));
  }
  const hn::Rebind<std::uint16_t, FloatTag> d_half;
  const auto bits = hn::LoadU(d_half, reinterpret_cast<const std::uint16_t*>(row) + i);
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(CellTag(), bits)));
}

/// Tokens [first, first + kChunk) as floats [kChunk][head_dim]; a token that does not exist repeats
/// the last that does.
HWY_INLINE void Widen(const RawRows& source, std::size_t first, float* target,
                      Prefetcher& prefetcher) {
  const std::size_t row_size_bytes = source.head_dim * size_bytes_of(source.type);
  // Half of the lines to come; the products ask for the other half.
  const std::size_t bytes_per_line = 2 * 64;
  for (std::size_t i = 0; i < kChunk; ++i) {
    const std::size_t token = first + i < source.n_valid ? first + i : source.n_valid - 1;
    const std::byte* const row = source.rows + token * row_size_bytes;
    float* const out = target + i * source.head_dim;
    for (std::size_t k = 0; k < source.head_dim; k += kLanes) {
      if (k * size_bytes_of(source.type) % bytes_per_line == 0) prefetcher.advance();
      hn::Store(LoadWide(row, source.type, k), FloatTag(), out + k);
    }
  }
}

template <class D>
HWY_INLINE hn::Vec<hn::FixedTag<float, 4>> FoldBlocks(D, hn::Vec<D> sums) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return sums;
  } else {
    const hn::Half<D> d_half;
    return FoldBlocks(d_half, hn::Add(hn::LowerHalf(sums), hn::UpperHalf(d_half, sums)));
  }
}

/// The sums of four vectors as four floats.
HWY_INLINE hn::Vec<hn::FixedTag<float, 4>> SumFour(const Floats (&sums)[4]) {
  const FloatTag d;
  const hn::Repartition<double, FloatTag> d_pair;
  const Floats first =
      hn::Add(hn::InterleaveLower(d, sums[0], sums[1]), hn::InterleaveUpper(d, sums[0], sums[1]));
  const Floats second =
      hn::Add(hn::InterleaveLower(d, sums[2], sums[3]), hn::InterleaveUpper(d, sums[2], sums[3]));
  const auto low =
      hn::InterleaveLower(d_pair, hn::BitCast(d_pair, first), hn::BitCast(d_pair, second));
  const auto high =
      hn::InterleaveUpper(d_pair, hn::BitCast(d_pair, first), hn::BitCast(d_pair, second));
  return FoldBlocks(d, hn::Add(hn::BitCast(d, low), hn::BitCast(d, high)));
}

/// kRow rows of queries by four tokens.
template <std::size_t kRow>
HWY_INLINE void DotFourTokens(const RawKeyLogits& args, const float* keys, std::size_t row,
                              std::size_t token, Prefetcher& prefetcher) {
  const FloatTag d;
  const hn::FixedTag<float, 4> d_four;
  const std::size_t dim = args.keys.head_dim;
  Floats sums[kRow][4];
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) {
    KVAULT_UNROLL
    for (std::size_t t = 0; t < 4; ++t) sums[r][t] = hn::Zero(d);
  }
  const float* const q = args.q + row * args.stride;
  for (std::size_t k = 0; k < dim; k += kLanes) {
    prefetcher.advance();
    Floats key[4];
    KVAULT_UNROLL
    for (std::size_t t = 0; t < 4; ++t) key[t] = hn::Load(d, keys + t * dim + k);
    KVAULT_UNROLL
    for (std::size_t r = 0; r < kRow; ++r) {
      const Floats query = hn::Load(d, q + r * args.stride + k);
      KVAULT_UNROLL
      for (std::size_t t = 0; t < 4; ++t) sums[r][t] = hn::MulAdd(query, key[t], sums[r][t]);
    }
  }
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) {
    const auto logits = hn::Mul(SumFour(sums[r]), hn::Set(d_four, args.factor));
    hn::Store(logits, d_four, args.logits + (row + r) * kPageTokens + token);
  }
}

void ComputeRawKeyLogits(const RawKeyLogits& args) {
  constexpr std::size_t kRow = kLanes == 16 ? 4 : 2;  // by the number of registers
  alignas(64) float keys[kChunk * KVAULT_HEAD_DIM_MAX];
  Prefetcher prefetcher(args.ahead);
  Prefetcher none;
  for (std::size_t first = 0; first < kPageTokens; first += kChunk) {
    if (first >= args.keys.n_valid) {
      for (std::size_t row = 0; row < args.n_row; ++row) {
        for (std::size_t t = first; t < kPageTokens; ++t) args.logits[row * kPageTokens + t] = 0;
      }
      return;
    }
    Widen(args.keys, first, keys, prefetcher);
    for (std::size_t part = 0; part < kChunk; part += 4) {
      const float* const four = keys + part * args.keys.head_dim;
      std::size_t row = 0;
      for (; row + kRow <= args.n_row; row += kRow) {
        DotFourTokens<kRow>(args, four, row, first + part, row == 0 ? prefetcher : none);
      }
      for (; row < args.n_row; ++row) {
        DotFourTokens<1>(args, four, row, first + part, row == 0 ? prefetcher : none);
      }
    }
  }
  prefetcher.finish();
}

/// kRow rows by kVector vectors of dims over the tokens of a chunk.
template <std::size_t kRow, std::size_t kVector>
HWY_INLINE void AddChunk(const RawValueSums& args, const float* values, std::size_t n_token,
                         std::size_t row, std::size_t first, std::size_t dim,
                         Prefetcher& prefetcher) {
  const FloatTag d;
  const std::size_t stride = args.values.head_dim;
  Floats sums[kRow][kVector];
  float* const out = args.out + row * args.stride + dim;
  const float* const p = args.probabilities + row * kPageTokens + first;
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) {
    KVAULT_UNROLL
    for (std::size_t v = 0; v < kVector; ++v) {
      sums[r][v] = hn::Load(d, out + r * args.stride + v * kLanes);
    }
  }
  for (std::size_t t = 0; t < n_token; ++t) {
    if (kVector > 2 || t % 2 == 0) prefetcher.advance();
    Floats value[kVector];
    KVAULT_UNROLL
    for (std::size_t v = 0; v < kVector; ++v) {
      value[v] = hn::Load(d, values + t * stride + dim + v * kLanes);
    }
    KVAULT_UNROLL
    for (std::size_t r = 0; r < kRow; ++r) {
      const Floats weight = hn::Set(d, p[r * kPageTokens + t]);
      KVAULT_UNROLL
      for (std::size_t v = 0; v < kVector; ++v) {
        sums[r][v] = hn::MulAdd(weight, value[v], sums[r][v]);
      }
    }
  }
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) {
    KVAULT_UNROLL
    for (std::size_t v = 0; v < kVector; ++v) {
      hn::Store(sums[r][v], d, out + r * args.stride + v * kLanes);
    }
  }
}

template <std::size_t kRow>
HWY_INLINE void AddChunkRows(const RawValueSums& args, const float* values, std::size_t n_token,
                             std::size_t row, std::size_t first, Prefetcher& prefetcher) {
  constexpr std::size_t kVector = kRow == 1 ? 8 : 2;
  const std::size_t dim_end = args.values.head_dim;
  std::size_t dim = 0;
  for (; dim + kVector * kLanes <= dim_end; dim += kVector * kLanes) {
    AddChunk<kRow, kVector>(args, values, n_token, row, first, dim, prefetcher);
  }
  for (; dim < dim_end; dim += kLanes) {
    AddChunk<kRow, 1>(args, values, n_token, row, first, dim, prefetcher);
  }
}

void AddRawValueSums(const RawValueSums& args) {
  alignas(64) float values[kChunk * KVAULT_HEAD_DIM_MAX];
  Prefetcher prefetcher(args.ahead);
  Prefetcher none;
  for (std::size_t first = 0; first < args.values.n_valid; first += kChunk) {
    Widen(args.values, first, values, prefetcher);
    const std::size_t left = args.values.n_valid - first;
    const std::size_t n_token = left < kChunk ? left : kChunk;
    std::size_t row = 0;
    for (; row + 4 <= args.n_row; row += 4) {
      AddChunkRows<4>(args, values, n_token, row, first, row == 0 ? prefetcher : none);
    }
    for (; row < args.n_row; ++row) {
      AddChunkRows<1>(args, values, n_token, row, first, row == 0 ? prefetcher : none);
    }
  }
  prefetcher.finish();
}

RawKernels Kernels() { return {&ComputeRawKeyLogits, &AddRawValueSums}; }

}  // namespace
}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvault::cpu {

RawKernels raw_kernels(InstructionSet set) {
  static constexpr RawKernels (*kTable[])() = KVAULT_SIMD_TABLE(Kernels);
  return kTable[static_cast<std::size_t>(set)]();
}

}  // namespace kvault::cpu
#endif
