#include "core/cpu/attend_kernels.hpp"
#include "core/cpu/simd_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/query_digits.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/cpu/cell-inl.hpp"

// Query rows to integers. A digit is at most 127 * 256 + 127: both its bytes stay within int8, and
// a sum over the widest head within 32 bits.

HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {
namespace {

constexpr float kDigitMax = 127 * 256 + 127;

using EightTag = hn::FixedTag<std::int16_t, 8>;
using EightBytesTag = hn::FixedTag<std::uint8_t, 16>;
using Eight = hn::Vec<EightTag>;

float Peak(const QueryDigits& args) {
  const FloatTag d;
  auto peaks = hn::Zero(d);
  for (std::size_t i = 0; i < args.n; i += kLanes) {
    peaks = hn::Max(peaks, hn::Abs(hn::Load(d, args.q + i)));
  }
  return hn::GetLane(hn::MaxOfLanes(d, peaks));
}

/// Digits of eight coordinates.
HWY_INLINE Eight LoadDigits(const float* q, float per_unit) {
  const hn::FixedTag<float, 4> d;
  const hn::Half<EightTag> d_half;
  const auto factor = hn::Set(d, per_unit);
  const auto low = hn::NearestInt(hn::Mul(hn::Load(d, q), factor));
  const auto high = hn::NearestInt(hn::Mul(hn::Load(d, q + 4), factor));
  return hn::Combine(EightTag(), hn::DemoteTo(d_half, high), hn::DemoteTo(d_half, low));
}

/// The sum of eight lanes, which need not fit one.
HWY_INLINE std::int32_t SumOf(Eight lanes) {
  const hn::FixedTag<std::int32_t, 4> d;
  const auto low = hn::PromoteTo(d, hn::LowerHalf(lanes));
  const auto high = hn::PromoteTo(d, hn::UpperHalf(hn::Half<EightTag>(), lanes));
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(low, high)));
}

/// Which bytes of eight lanes come first where a cell is two words: of tq codes 0 and 4, 2 and 6,
/// 1 and 5, 3 and 7; of q8 codes 0 and 2, 1 and 3, and so on. unpack-inl.hpp makes the other side.
[[maybe_unused]] alignas(16) constexpr std::uint8_t kWordsTq[16] = {0, 1, 8,  9,  4, 5, 12, 13,
                                                                    2, 3, 10, 11, 6, 7, 14, 15};
[[maybe_unused]] alignas(16) constexpr std::uint8_t kWordsQ8[16] = {0, 1, 4,  5,  2,  3,  6,  7,
                                                                    8, 9, 12, 13, 10, 11, 14, 15};
/// Where a cell is four bytes, the low bytes of the lanes: of tq codes 0, 2, 4, 6, then 1, 3, 5, 7;
/// of q8 as they come. The upper half is not used.
[[maybe_unused]] alignas(16) constexpr std::uint8_t kBytesTq[16] = {0, 4, 8, 12, 2, 6, 10, 14};
[[maybe_unused]] alignas(16) constexpr std::uint8_t kBytesQ8[16] = {0, 2, 4, 6, 8, 10, 12, 14};

DigitSums ComputeQueryDigits(const QueryDigits& args) {
  const EightBytesTag d_bytes;
  const float peak = Peak(args);
  const bool counts = peak > 1e-30F;
  const float per_unit = counts ? kDigitMax / peak : 0.0F;
  DigitSums sums = {counts ? peak / kDigitMax : 0.0F, per_unit, {0, 0}};
#if KVAULT_CPU_BYTES
  const auto order = hn::Load(d_bytes, args.is_q8 ? kBytesQ8 : kBytesTq);
  const hn::Half<EightBytesTag> d_half;
  auto* const high = reinterpret_cast<std::uint8_t*>(args.cells);
  auto* const low = reinterpret_cast<std::uint8_t*>(args.cells + kQueryCells);
  // At most 64 groups of bytes in [-128, 127]: their sums fit 16 bits.
  Eight high_sums = hn::Zero(EightTag());
  Eight low_sums = hn::Zero(EightTag());
  for (std::size_t i = 0; i < args.n; i += 8) {
    const Eight digits = LoadDigits(args.q + i, per_unit);
    const Eight low_digits = hn::ShiftRight<8>(hn::ShiftLeft<8>(digits));
    const Eight high_digits = hn::ShiftRight<8>(hn::Sub(digits, low_digits));
    low_sums = hn::Add(low_sums, low_digits);
    high_sums = hn::Add(high_sums, high_digits);
    const auto place = [&](Eight bytes) {
      return hn::LowerHalf(hn::TableLookupBytes(hn::BitCast(d_bytes, bytes), order));
    };
    hn::Store(place(low_digits), d_half, low + i);
    hn::Store(place(high_digits), d_half, high + i);
  }
  sums.plane[0] = SumOf(high_sums);
  sums.plane[1] = SumOf(low_sums);
#else
  const auto order = hn::Load(d_bytes, args.is_q8 ? kWordsQ8 : kWordsTq);
  auto* const words = reinterpret_cast<std::uint8_t*>(args.cells);
  for (std::size_t i = 0; i < args.n; i += 8) {
    const Eight digits = LoadDigits(args.q + i, per_unit);
    sums.plane[0] += SumOf(digits);
    hn::Store(hn::TableLookupBytes(hn::BitCast(d_bytes, digits), order), d_bytes, words + 2 * i);
  }
#endif
  return sums;
}

}  // namespace
}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvault::cpu {

QueryDigitsKernel query_digits_kernel(InstructionSet set) {
  static constexpr QueryDigitsKernel kTable[] = KVAULT_SIMD_TABLE(ComputeQueryDigits);
  return kTable[static_cast<std::size_t>(set)];
}

}  // namespace kvault::cpu
#endif
