#include <bit>
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
constexpr float kNone = -std::numeric_limits<float>::infinity();

/// 2^r, of r in [0, 1) or [-1/2, 1/2]: minimax by relative error, which stays below 4e-6, a quarter
/// of what a weight of 16 bits can tell. Exact at 0.
HWY_INLINE Floats ExpTwoOfFraction(Floats r) {
  const FloatTag d;
#if HWY_TARGET == HWY_AVX3_DL
  constexpr float kTerms[] = {1.342668429e-2F, 5.224247419e-2F, 2.412802048e-1F, 6.930448449e-1F};
#else
  constexpr float kTerms[] = {9.782912553e-3F, 5.597688363e-2F, 2.402071108e-1F, 6.931136044e-1F};
#endif
  Floats p = hn::MulAdd(hn::Set(d, kTerms[0]), r, hn::Set(d, kTerms[1]));
  p = hn::MulAdd(p, r, hn::Set(d, kTerms[2]));
  p = hn::MulAdd(p, r, hn::Set(d, kTerms[3]));
  return hn::MulAdd(p, r, hn::Set(d, 1.0F));
}

/// 2^x for x < 127, and 0 below 2^-100: what follows multiplies by token factors, and products that
/// are no normal numbers would take a hundred times as long as others.
HWY_INLINE Floats ExpTwo(Floats x) {
  const FloatTag d;
  const Floats least = hn::Set(d, -100.0F);
#if HWY_TARGET == HWY_AVX3_DL
  const Floats r{_mm512_reduce_ps(x.raw, _MM_FROUND_TO_NEG_INF)};  // x less its floor
  const __mmask16 counts = _mm512_cmp_ps_mask(x.raw, least.raw, _CMP_GE_OQ);
  return Floats{_mm512_maskz_scalef_ps(counts, ExpTwoOfFraction(r).raw, x.raw)};
#else
  const SumTag d_int;
  // Added, it leaves no room for a fraction: the sum's low bits are the nearest integer.
  const Floats magic = hn::Set(d, 12582912.0F);
  const Floats shifted = hn::Add(x, magic);
  const Floats p = ExpTwoOfFraction(hn::Sub(x, hn::Sub(shifted, magic)));
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(d_int, shifted));
  const Floats power = hn::BitCast(d, hn::Add(hn::BitCast(d_int, p), exponent));
  return hn::IfThenElseZero(hn::Ge(x, least), power);
#endif
}

constexpr float kLog2E = 1.44269504F;
/// A logarithm to base 2 read off a float's bits is too small by up to as much.
constexpr float kLog2Error = 0.0861F;
constexpr float kMantissa = 8388608.0F;  ///< 2^23

/// No less than log2 of the positive floats x, and at most kLog2Error more.
HWY_INLINE Floats Log2Above(Floats x) {
  const FloatTag d;
  const Floats bits = hn::ConvertTo(d, hn::BitCast(SumTag(), x));
  return hn::MulAdd(bits, hn::Set(d, 1 / kMantissa), hn::Set(d, kLog2Error - 127));
}
/// No more than 2^x and at least 1 / 2^kLog2Error of it. pre: |x| <= 100
HWY_INLINE float ExpTwoBelow(float x) {
  return std::bit_cast<float>(static_cast<std::int32_t>((x + (127 - kLog2Error)) * kMantissa));
}

/// Cut off after the point. Logits so large that their last bits count may exceed the greatest
/// weight by what those round: bytes are held to it here, words saturate when they are stored.
HWY_INLINE Sums TruncateWeights(Floats x) {
#if KVAULT_CPU_BYTES
  return Sums{_mm512_cvttps_epi32(hn::Min(x, hn::Set(FloatTag(), 65535.0F)).raw)};
#elif HWY_TARGET == HWY_AVX3_DL
  return Sums{_mm512_cvttps_epi32(x.raw)};  // Highway would look after what does not fit
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
  // Cells hold tokens 0 and 2, then 1 and 3, of every four.
  alignas(16) static constexpr std::uint8_t kOrder[16] = {0, 1, 4,  5,  2,  3,  6,  7,
                                                          8, 9, 12, 13, 10, 11, 14, 15};
  const hn::Rebind<std::int16_t, SumTag> d_words;
  const hn::Repartition<std::uint8_t, decltype(d_words)> d_bytes;
  const auto words = hn::BitCast(d_bytes, hn::DemoteTo(d_words, weights));  // saturates
  const auto ordered = hn::TableLookupBytes(words, hn::Load(d_bytes, kOrder));
  hn::StoreU(hn::BitCast(d_words, ordered), d_words,
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

HWY_INLINE float GreatestLane(Floats x) {
  const float greatest = hn::GetLane(hn::MaxOfLanes(FloatTag(), x));
#if HWY_TARGET == HWY_EMU128  // Highway's begins with the least finite number
  if (greatest == std::numeric_limits<float>::lowest()) return kNone;
#endif
  return greatest;
}

/// The rows' greatest logits and, where weights are wanted, the greatest of logit * log2(e) +
/// log2_factor: log2 of the greatest p * token_factor, were the shift 0, and a little more.
template <std::size_t kRow>
struct Peaks {
  RowFloats<kRow> logit;
  RowFloats<kRow> log2_weight;
};
template <bool kWeighs, std::size_t kRow>
HWY_INLINE Peaks<kRow> FindPeaks(const PageSoftmax& args, std::size_t row,
                                 const float* log2_factor) {
  const FloatTag d;
  const Floats none = hn::Set(d, kNone);
  const Floats log2e = hn::Set(d, kLog2E);
  RowVectors<kRow> logits;
  RowVectors<kRow> weights;
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) logits.at[r] = weights.at[r] = none;
  for (std::size_t t = 0; t < kPageTokens; t += kLanes) {
    KVAULT_UNROLL
    for (std::size_t r = 0; r < kRow; ++r) {
      const Floats s = hn::Load(d, args.logits + (row + r) * kPageTokens + t);
      logits.at[r] = hn::Max(logits.at[r], s);
      if constexpr (kWeighs) {
        const Floats weight = hn::MulAdd(s, log2e, hn::Load(d, log2_factor + t));
        weights.at[r] = hn::Max(weights.at[r], weight);
      }
    }
  }
  Peaks<kRow> peaks;
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) {
    peaks.logit.at[r] = GreatestLane(logits.at[r]);
    peaks.log2_weight.at[r] = kWeighs ? GreatestLane(weights.at[r]) : 0.0F;
  }
  return peaks;
}

/// What the row's logits are relative to from here on; writes what earlier sums are scaled by. A
/// maximum that is exceeded by little stays, since any near it serves: few pages scale anything.
HWY_INLINE float AdvanceMaximum(const PageSoftmax& args, std::size_t row, float peak) {
  constexpr float kSlack = 5.0F;
  SoftmaxState& state = args.states[row];
  args.rescale[row] = 1;
  if (peak > state.maximum + kSlack) {  // -infinity the first time, which gives 0
    const Floats difference = hn::Set(FloatTag(), (state.maximum - peak) * kLog2E);
    args.rescale[row] = hn::GetLane(ExpTwo(difference));
    state.maximum = peak;
  }
  // A row that has seen nothing yet: any finite shift leaves exp(-infinity) = 0.
  return state.maximum == kNone ? 0.0F : state.maximum;
}

/// What p * token_factor is multiplied by, so that the greatest becomes nearly the greatest weight;
/// 0 where all of them are next to nothing.
HWY_INLINE float WeightsPerUnit(const PageSoftmax& args, std::size_t row, float log2_weight,
                                float shift) {
  // One below what fits: the greatest dither is almost 1.
  constexpr float kGreatest = kForm == CellForm::bytes ? 65534.0F : 32766.0F;
  constexpr float kLog2Max = 100.0F;
  const float log2_per_unit = shift * kLog2E - log2_weight;
  const bool counts = log2_per_unit <= kLog2Max;  // not where the weight is -infinity
  const float bounded = log2_per_unit >= -kLog2Max ? log2_per_unit : -kLog2Max;
  const float per_unit = counts ? kGreatest * ExpTwoBelow(bounded) : 0.0F;
  args.factor[row] = counts ? 1 / per_unit : 0.0F;
  return per_unit;
}

/// Takes rows in: their probabilities as weights or, where none are wanted, in place of the logits.
template <bool kWeighs, std::size_t kRow>
void TakeRows(const PageSoftmax& args, std::size_t row, const float* log2_factor,
              Prefetcher& prefetcher) {
  const FloatTag d;
  const Floats log2e = hn::Set(d, kLog2E);
  const Peaks<kRow> peaks = FindPeaks<kWeighs, kRow>(args, row, log2_factor);
  RowVectors<kRow> shift;
  RowVectors<kRow> per_unit;
  RowVectors<kRow> sums;
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) {
    const float from = AdvanceMaximum(args, row + r, peaks.logit.at[r]);
    shift.at[r] = hn::Set(d, from);
    if constexpr (kWeighs) {
      per_unit.at[r] = hn::Set(d, WeightsPerUnit(args, row + r, peaks.log2_weight.at[r], from));
    }
    sums.at[r] = hn::Zero(d);
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
        const Floats w = hn::MulAdd(weighed, per_unit.at[r], hn::Load(d, kDither.at.data() + t));
        StoreWeights(TruncateWeights(w), t, args.weights + (row + r) * kPlanes * kWeightCells);
      } else {
        hn::Store(p, d, s);
      }
    }
  }
  KVAULT_UNROLL
  for (std::size_t r = 0; r < kRow; ++r) {
    const float mass = hn::GetLane(hn::SumOfLanes(d, sums.at[r]));
    SoftmaxState& state = args.states[row + r];
    args.mass[row + r] = mass;
    state.sum = state.sum * args.rescale[row + r] + mass;
  }
}

template <bool kWeighs>
void TakeAllRows(const PageSoftmax& args) {
  constexpr std::size_t kRow = kLanes == 16 ? 4 : 2;  // by the number of registers
  alignas(64) float log2_factor[kPageTokens];
  if constexpr (kWeighs) {
    const FloatTag d;
    for (std::size_t t = 0; t < kPageTokens; t += kLanes) {
      hn::Store(Log2Above(hn::Load(d, args.token_factor + t)), d, log2_factor + t);
    }
  }
  // The first rows ask for all of it: there are few where memory is what takes time.
  Prefetcher prefetcher(args.ahead);
  Prefetcher none;
  std::size_t row = 0;
  for (; row + kRow <= args.n_row; row += kRow) {
    TakeRows<kWeighs, kRow>(args, row, log2_factor, row == 0 ? prefetcher : none);
  }
  for (; row < args.n_row; ++row) {
    TakeRows<kWeighs, 1>(args, row, log2_factor, row == 0 ? prefetcher : none);
  }
  prefetcher.finish();
}

void ComputePageSoftmax(const PageSoftmax& args) {
  if (args.token_factor != nullptr) {
    TakeAllRows<true>(args);
  } else {
    TakeAllRows<false>(args);
  }
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
