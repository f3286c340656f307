// Vectors of floats from and to the element types of rows, for one instruction set; see
// rotate-inl.hpp for how to include it.
#if defined(KVAULT_CORE_CPU_ROW_TYPES_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef KVAULT_CORE_CPU_ROW_TYPES_INL_HPP
#undef KVAULT_CORE_CPU_ROW_TYPES_INL_HPP
#else
#define KVAULT_CORE_CPU_ROW_TYPES_INL_HPP
#endif

#include <cstddef>
#include <cstdint>

#include "core/base/half.hpp"
#include "core/cpu/simd_targets.hpp"

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using RowFloats = hn::ScalableTag<float>;
using RowVector = hn::Vec<RowFloats>;
/// Lanes of a vector: 16, 8 or 4. Every head_dim is a multiple.
inline constexpr std::size_t kRowLane = HWY_LANES(float);

HWY_INLINE RowVector LoadAsFloats(const float* source) { return hn::LoadU(RowFloats(), source); }

/// Exact.
HWY_INLINE RowVector LoadAsFloats(const Half* source) {
#if HWY_TARGET == HWY_EMU128  // Highway's own has no infinities
  alignas(16) float wide[kRowLane];
  for (std::size_t i = 0; i < kRowLane; ++i) wide[i] = to_float(source[i]);
  return hn::Load(RowFloats(), wide);
#else
  const hn::Rebind<hwy::float16_t, RowFloats> d_half;
  const auto* const halves = reinterpret_cast<const hwy::float16_t*>(source);
  return hn::PromoteTo(RowFloats(), hn::LoadU(d_half, halves));
#endif
}

/// Exact.
HWY_INLINE RowVector LoadAsFloats(const BFloat16* source) {
  const hn::Rebind<std::uint16_t, RowFloats> d_short;
  const hn::RebindToUnsigned<RowFloats> d_word;
  const auto* const bits = reinterpret_cast<const std::uint16_t*>(source);
  const auto words = hn::PromoteTo(d_word, hn::LoadU(d_short, bits));
  return hn::BitCast(RowFloats(), hn::ShiftLeft<16>(words));
}

HWY_INLINE void StoreFloats(RowVector v, float* target) { hn::StoreU(v, RowFloats(), target); }

/// Rounds to nearest, ties to even.
HWY_INLINE void StoreFloats(RowVector v, Half* target) {
#if HWY_TARGET == HWY_EMU128  // Highway's own truncates
  alignas(16) float wide[kRowLane];
  hn::Store(v, RowFloats(), wide);
  for (std::size_t i = 0; i < kRowLane; ++i) target[i] = to_half(wide[i]);
#else
  const hn::Rebind<hwy::float16_t, RowFloats> d_half;
  hn::StoreU(hn::DemoteTo(d_half, v), d_half, reinterpret_cast<hwy::float16_t*>(target));
#endif
}

/// Rounds to nearest, ties to even; NaN stays NaN.
HWY_INLINE void StoreFloats(RowVector v, BFloat16* target) {
  const hn::Rebind<std::uint16_t, RowFloats> d_short;
  const hn::RebindToUnsigned<RowFloats> d_word;
  const auto bits = hn::BitCast(d_word, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d_word, 1));
  const auto rounded = hn::Add(hn::Add(bits, hn::Set(d_word, 0x7FFF)), odd);
  const auto quiet = hn::Or(bits, hn::Set(d_word, 0x400000));
  const auto is_nan = hn::RebindMask(d_word, hn::IsNaN(v));
  const auto high = hn::ShiftRight<16>(hn::IfThenElse(is_nan, quiet, rounded));
  hn::StoreU(hn::TruncateTo(d_short, high), d_short, reinterpret_cast<std::uint16_t*>(target));
}

}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
