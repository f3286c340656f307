#include <limits>

#include "core/cpu/attend_kernels.hpp"
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

/// 2^x for x <= 0, relative error below 2e-7; 0 below -126.
HWY_INLINE Floats ExpTwo(Floats x) {
  const FloatTag d;
  const SumTag d_int;
  const auto least = hn::Set(d, -126.0F);
  const Floats clamped = hn::Max(x, least);
  // Added, it leaves no room for a fraction: the sum's low bits are the nearest integer.
  const Floats magic = hn::Set(d, 12582912.0F);
  const Floats shifted = hn::Add(clamped, magic);
  const Floats r = hn::Sub(clamped, hn::Sub(shifted, magic));  // [-1/2, 1/2]
  // Minimax of 2^r by relative error, which stays below 8e-8.
  Floats p = hn::Set(d, 1.327647129e-3F);
  p = hn::MulAdd(p, r, hn::Set(d, 9.675540961e-3F));
  p = hn::MulAdd(p, r, hn::Set(d, 5.550713092e-2F));
  p = hn::MulAdd(p, r, hn::Set(d, 2.402212024e-1F));
  p = hn::MulAdd(p, r, hn::Set(d, 6.931469440e-1F));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0F));
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(d_int, shifted));
  const Floats scaled = hn::BitCast(d, hn::Add(hn::BitCast(d_int, p), exponent));
  return hn::IfThenElseZero(hn::Ge(x, least), scaled);
}

constexpr float kLog2E = 1.44269504F;

/// One row of PageSoftmax.
HWY_INLINE void AdvanceRow(float* logits, SoftmaxState& state, float& rescale, float& mass) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const FloatTag d;
  Floats maxima = hn::Set(d, state.maximum);
  for (std::size_t t = 0; t < kPageTokens; t += kLanes) {
    maxima = hn::Max(maxima, hn::Load(d, logits + t));
  }
  const float maximum = hn::GetLane(hn::MaxOfLanes(d, maxima));
  if (maximum == kNone) {  // nothing visible yet: no key has weight
    for (std::size_t t = 0; t < kPageTokens; t += kLanes) hn::Store(hn::Zero(d), d, logits + t);
    rescale = 1;
    mass = 0;
    return;
  }
  const Floats shift = hn::Set(d, maximum);
  const Floats log2e = hn::Set(d, kLog2E);
  Floats sums = hn::Zero(d);
  for (std::size_t t = 0; t < kPageTokens; t += kLanes) {
    // Subtracted first: the product of a large logit would lose the difference's bits.
    const Floats p = ExpTwo(hn::Mul(hn::Sub(hn::Load(d, logits + t), shift), log2e));
    sums = hn::Add(sums, p);
    hn::Store(p, d, logits + t);
  }
  rescale = 1;
  if (state.maximum != maximum) {  // -infinity the first time, which gives 0
    const Floats difference = hn::Set(d, (state.maximum - maximum) * kLog2E);
    rescale = hn::GetLane(ExpTwo(difference));
  }
  mass = hn::GetLane(hn::SumOfLanes(d, sums));
  state.sum = state.sum * rescale + mass;
  state.maximum = maximum;
}

void AdvancePageSoftmax(const PageSoftmax& args) {
  for (std::size_t row = 0; row < args.n_row; ++row) {
    AdvanceRow(args.logits + row * kPageTokens, args.states[row], args.rescale[row],
               args.mass[row]);
  }
}

/// Integers of kLanes tokens to where the dot product wants them.
HWY_INLINE void StoreWeights(Sums weights, std::size_t token, std::uint32_t* planes) {
#if KVAULT_CPU_BYTES
  auto* const high = reinterpret_cast<std::uint8_t*>(planes) + token;
  auto* const low = reinterpret_cast<std::uint8_t*>(planes + kWeightCells) + token;
  _mm_store_si128(reinterpret_cast<__m128i*>(low), _mm512_cvtepi32_epi8(weights.raw));
  _mm_store_si128(reinterpret_cast<__m128i*>(high),
                  _mm512_cvtepi32_epi8(_mm512_srli_epi32(weights.raw, 8)));
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

/// What is added before a weight is cut to an integer: spread evenly over [0, 1) by token, so that
/// many equal small weights keep their sum, where rounding would lose or double all of them.
HWY_INLINE Floats Dither(std::size_t token) {
  alignas(64) static constexpr float kReversed[16] = {
      .03125F, .53125F, .28125F, .78125F, .15625F, .65625F, .40625F, .90625F,
      .09375F, .59375F, .34375F, .84375F, .21875F, .71875F, .46875F, .96875F};
  return hn::Load(FloatTag(), kReversed + token % 16);
}

void ComputeValueWeights(const ValueWeights& args) {
  constexpr float kGreatest = kForm == CellForm::bytes ? 65535.0F : 32767.0F;
  constexpr float kLeast = 1e-33F;  // below, kGreatest / peak would overflow
  const FloatTag d;
  for (std::size_t row = 0; row < args.n_row; ++row) {
    const float* const p = args.probabilities + row * kPageTokens;
    std::uint32_t* const planes = args.weights + row * kPlanes * kWeightCells;
    Floats peaks = hn::Zero(d);
    for (std::size_t t = 0; t < kPageTokens; t += kLanes) {
      peaks = hn::Max(peaks, hn::Mul(hn::Load(d, p + t), hn::Load(d, args.token_factor + t)));
    }
    const float peak = hn::GetLane(hn::MaxOfLanes(d, peaks));
    const bool counts = peak >= kLeast;
    args.factor[row] = counts ? peak / kGreatest : 0.0F;
    const Floats per_unit = hn::Set(d, counts ? kGreatest / peak : 0.0F);
    const Floats greatest = hn::Set(d, kGreatest);
    for (std::size_t t = 0; t < kPageTokens; t += kLanes) {
      const Floats w = hn::Mul(hn::Load(d, p + t), hn::Load(d, args.token_factor + t));
      const Floats dithered = hn::MulAdd(w, per_unit, Dither(t));
      StoreWeights(hn::ConvertTo(SumTag(), hn::Min(dithered, greatest)), t, planes);
    }
  }
}

SoftmaxKernels Kernels() { return {&AdvancePageSoftmax, &ComputeValueWeights}; }

}  // namespace
}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvault::cpu {

SoftmaxKernels softmax_kernels(InstructionSet set) {
  static constexpr SoftmaxKernels (*kTable[])() = KVAULT_SIMD_TABLE(Kernels);
  return kTable[static_cast<std::size_t>(set)]();
}

}  // namespace kvault::cpu
#endif
