#include <limits>

#include "core/cpu/attend_kernels.hpp"
#include "core/cpu/dither.hpp"
#include "core/cpu/simd_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/page_softmax.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/cpu/cell-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {
namespace {

using Floats = hn::Vec<FloatTag>;

/// 2^r for r in [-1/2, 1/2]: minimax by relative error, which stays below 8e-8.
HWY_INLINE Floats ExpTwoOfFraction(Floats r) {
  const FloatTag d;
  Floats p = hn::Set(d, 1.327647129e-3F);
  p = hn::MulAdd(p, r, hn::Set(d, 9.675540961e-3F));
  p = hn::MulAdd(p, r, hn::Set(d, 5.550713092e-2F));
  p = hn::MulAdd(p, r, hn::Set(d, 2.402212024e-1F));
  p = hn::MulAdd(p, r, hn::Set(d, 6.931469440e-1F));
  return hn::MulAdd(p, r, hn::Set(d, 1.0F));
}

/// 2^x for x <= 0, relative error below 2e-7; 0 below -126.
HWY_INLINE Floats ExpTwo(Floats x) {
  const FloatTag d;
  const auto least = hn::Set(d, -126.0F);
#if HWY_TARGET == HWY_AVX3_DL
  const Floats r{_mm512_reduce_ps(x.raw, 0)};  // x less the nearest integer
  const __mmask16 counts = _mm512_cmp_ps_mask(x.raw, least.raw, _CMP_GE_OQ);
  return Floats{_mm512_maskz_scalef_ps(counts, ExpTwoOfFraction(r).raw, hn::Sub(x, r).raw)};
#else
  const SumTag d_int;
  const Floats clamped = hn::Max(x, least);
  // Added, it leaves no room for a fraction: the sum's low bits are the nearest integer.
  const Floats magic = hn::Set(d, 12582912.0F);
  const Floats shifted = hn::Add(clamped, magic);
  const Floats p = ExpTwoOfFraction(hn::Sub(clamped, hn::Sub(shifted, magic)));
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(d_int, shifted));
  const Floats scaled = hn::BitCast(d, hn::Add(hn::BitCast(d_int, p), exponent));
  return hn::IfThenElseZero(hn::Ge(x, least), scaled);
#endif
}

constexpr float kLog2E = 1.44269504F;

/// Cut off after the point. pre: the result fits, which Highway would look after on x86.
HWY_INLINE Sums Truncate(Floats x) {
#if HWY_TARGET == HWY_AVX3_DL
  return Sums{_mm512_cvttps_epi32(x.raw)};
#elif HWY_TARGET == HWY_AVX2
  return Sums{_mm256_cvttps_epi32(x.raw)};
#else
  return hn::ConvertTo(SumTag(), x);
#endif
}

/// Integers of kLanes tokens to where the dot product wants them.
HWY_INLINE void StoreWeights(Sums weights, std::size_t token, std::uint32_t* planes) {
#if KVAULT_CPU_BYTES
  auto* const high = reinterpret_cast<std::uint8_t*>(planes) + token;
  auto* const low = reinterpret_cast<std::uint8_t*>(planes + kWeightCells) + token;
  // The low bytes of all lanes, then their second bytes: one shuffle instead of two conversions.
  alignas(64) static constexpr std::uint8_t kBytes[64] = {
      0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60,
      1, 5, 9, 13, 17, 21, 25, 29, 33, 37, 41, 45, 49, 53, 57, 61};
  const __m512i bytes = _mm512_permutexvar_epi8(_mm512_load_si512(kBytes), weights.raw);
  _mm_store_si128(reinterpret_cast<__m128i*>(low), _mm512_castsi512_si128(bytes));
  _mm_store_si128(reinterpret_cast<__m128i*>(high), _mm512_extracti32x4_epi32(bytes, 1));
#else
  // Cells hold tokens 0 and 2, then 1 and 3, of every four: their middle two words change places.
  const hn::Rebind<std::int16_t, SumTag> d_words;
  const hn::Repartition<std::uint64_t, decltype(d_words)> d_quad;
  const auto quads = hn::BitCast(d_quad, hn::DemoteTo(d_words, weights));
  const auto outer = hn::And(quads, hn::Set(d_quad, 0xFFFF00000000FFFFULL));
  const auto second = hn::And(hn::ShiftLeft<16>(quads), hn::Set(d_quad, 0x0000FFFF00000000ULL));
  const auto third = hn::And(hn::ShiftRight<16>(quads), hn::Set(d_quad, 0x00000000FFFF0000ULL));
  hn::StoreU(hn::BitCast(d_words, hn::Or(outer, hn::Or(second, third))), d_words,
             reinterpret_cast<std::int16_t*>(planes) + token);
#endif
}

/// Per row of a group; rows are taken together so that their chains of dependent instructions
/// overlap. A row's numbers do not depend on its group.
template <std::size_t kRow>
struct RowFloats {
  float at[kRow];
};
template <std::size_t kRow>
struct RowVectors {
  Floats at[kRow];
};

template <std::size_t kRow>
HWY_INLINE RowFloats<kRow> FindMaxima(const PageSoftmax& args, std::size_t row) {
  const FloatTag d;
  RowVectors<kRow> maxima;
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) maxima.at[r] = hn::Set(d, args.states[row + r].maximum);
  for (std::size_t t = 0; t < kPageTokens; t += kLanes) {
    KVAULT_UNROLL
    for (std::size_t r = 0; r < kRow; ++r) {
      const Floats s = hn::Load(d, args.logits + (row + r) * kPageTokens + t);
      maxima.at[r] = hn::Max(maxima.at[r], s);
    }
  }
  RowFloats<kRow> result;
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) {
    result.at[r] = hn::GetLane(hn::MaxOfLanes(d, maxima.at[r]));
  }
  return result;
}

/// The running softmax takes in a page's maximum and mass; writes what earlier sums are scaled by.
HWY_INLINE void AdvanceState(const PageSoftmax& args, std::size_t row, float maximum, float mass) {
  SoftmaxState& state = args.states[row];
  args.mass[row] = mass;
  args.rescale[row] = 1;
  if (state.maximum != maximum) {  // -infinity the first time, which gives 0
    const Floats difference = hn::Set(FloatTag(), (state.maximum - maximum) * kLog2E);
    args.rescale[row] = hn::GetLane(ExpTwo(difference));
  }
  state.sum = state.sum * args.rescale[row] + mass;
  state.maximum = maximum;
}

/// exp of the rows' logits in place, where weights are wanted times token_factor, and the greatest
/// of these of each row.
template <bool kWeighs, std::size_t kRow>
HWY_INLINE RowFloats<kRow> AdvanceRows(const PageSoftmax& args, std::size_t row,
                                       Prefetcher& prefetcher) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const FloatTag d;
  const RowFloats<kRow> maxima = FindMaxima<kRow>(args, row);
  const Floats log2e = hn::Set(d, kLog2E);
  RowVectors<kRow> shift;
  RowVectors<kRow> sums;
  RowVectors<kRow> peaks;
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) {
    // A row that has seen nothing yet: any finite shift leaves exp(-infinity) = 0.
    shift.at[r] = hn::Set(d, maxima.at[r] == kNone ? 0.0F : maxima.at[r]);
    sums.at[r] = hn::Zero(d);
    peaks.at[r] = hn::Zero(d);
  }
  for (std::size_t t = 0; t < kPageTokens; t += kLanes) {
    KVAULT_UNROLL
    for (std::size_t r = 0; r < kRow; ++r) {
      prefetcher.advance();
      float* const s = args.logits + (row + r) * kPageTokens + t;
      // Subtracted first: the product of a large logit would lose the difference's bits.
      const Floats p = ExpTwo(hn::Mul(hn::Sub(hn::Load(d, s), shift.at[r]), log2e));
      sums.at[r] = hn::Add(sums.at[r], p);
      if constexpr (kWeighs) {
        const Floats weighed = hn::Mul(p, hn::Load(d, args.token_factor + t));
        peaks.at[r] = hn::Max(peaks.at[r], weighed);
        hn::Store(weighed, d, s);
      } else {
        hn::Store(p, d, s);
      }
    }
  }
  RowFloats<kRow> result;
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) {
    const float mass = hn::GetLane(hn::SumOfLanes(d, sums.at[r]));
    result.at[r] = kWeighs ? hn::GetLane(hn::MaxOfLanes(d, peaks.at[r])) : 0.0F;
    if (maxima.at[r] == kNone) {
      args.mass[row + r] = 0;
      args.rescale[row + r] = 1;
    } else {
      AdvanceState(args, row + r, maxima.at[r], mass);
    }
  }
  return result;
}

/// The weights of rows whose greatest p * token_factor are `peaks`.
template <std::size_t kRow>
HWY_INLINE void WeighRows(const PageSoftmax& args, std::size_t row, const RowFloats<kRow>& peaks,
                          Prefetcher& prefetcher) {
  // One below what fits: the greatest dither is almost 1, and the product may round up.
  constexpr float kGreatest = kForm == CellForm::bytes ? 65534.0F : 32766.0F;
  constexpr float kLeast = 1e-33F;  // below, kGreatest / peak would overflow
  const FloatTag d;
  RowVectors<kRow> per_unit;
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) {
    const bool counts = peaks.at[r] >= kLeast;
    args.factor[row + r] = counts ? peaks.at[r] / kGreatest : 0.0F;
    per_unit.at[r] = hn::Set(d, counts ? kGreatest / peaks.at[r] : 0.0F);
  }
  for (std::size_t t = 0; t < kPageTokens; t += kLanes) {
    const Floats dither = hn::Load(d, kDither.at.data() + t);
    KVAULT_UNROLL
    for (std::size_t r = 0; r < kRow; ++r) {
      prefetcher.advance();
      const Floats weighed = hn::Load(d, args.logits + (row + r) * kPageTokens + t);
      const Floats w = hn::MulAdd(weighed, per_unit.at[r], dither);
      StoreWeights(Truncate(w), t, args.weights + (row + r) * kPlanes * kWeightCells);
    }
  }
}

template <std::size_t kRow>
void TakeRows(const PageSoftmax& args, std::size_t row, Prefetcher& prefetcher) {
  if (args.token_factor == nullptr) {
    AdvanceRows<false, kRow>(args, row, prefetcher);
  } else {
    const RowFloats<kRow> peaks = AdvanceRows<true, kRow>(args, row, prefetcher);
    WeighRows<kRow>(args, row, peaks, prefetcher);
  }
}

void ComputePageSoftmax(const PageSoftmax& args) {
  constexpr std::size_t kRow = kLanes == 16 ? 4 : 2;  // by the number of registers
  // The first rows ask for all of it: there are few where memory is what takes time.
  Prefetcher prefetcher(args.ahead);
  Prefetcher none;
  std::size_t row = 0;
  for (; row + kRow <= args.n_row; row += kRow) {
    TakeRows<kRow>(args, row, row == 0 ? prefetcher : none);
  }
  for (; row < args.n_row; ++row) TakeRows<1>(args, row, row == 0 ? prefetcher : none);
  prefetcher.finish();
}

}  // namespace
}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvault::cpu {

PageSoftmaxKernel page_softmax_kernel(InstructionSet set) {
  static constexpr PageSoftmaxKernel kTable[] = KVAULT_SIMD_TABLE(ComputePageSoftmax);
  return kTable[static_cast<std::size_t>(set)];
}

}  // namespace kvault::cpu
#endif
