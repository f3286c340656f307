#include "core/cpu/attend_kernels.hpp"
#include "core/cpu/simd_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/vector_math.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/cpu/cell-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {
namespace {

using Floats = hn::Vec<FloatTag>;

void WidenHalvesScaled(const WidenHalves& args) {
  const FloatTag d;
  const hn::Rebind<hwy::float16_t, FloatTag> d_half;
  const auto* const halves = reinterpret_cast<const hwy::float16_t*>(args.halves);
  const Floats factor = hn::Set(d, args.factor);
  for (std::size_t i = 0; i < args.n; i += kLanes) {
    const Floats wide = hn::PromoteTo(d, hn::LoadU(d_half, halves + i));
    hn::Store(hn::Mul(wide, factor), d, args.out + i);
  }
}

void ComputeRowDots(const RowDots& args) {
  const FloatTag d;
  for (std::size_t row = 0; row < args.n_row; ++row) {
    const float* const y = args.rows + row * args.stride;
    Floats even = hn::Zero(d);
    Floats odd = hn::Zero(d);
    std::size_t i = 0;
    for (; i + 2 * kLanes <= args.n; i += 2 * kLanes) {
      even = hn::MulAdd(hn::Load(d, y + i), hn::Load(d, args.x + i), even);
      odd = hn::MulAdd(hn::Load(d, y + i + kLanes), hn::Load(d, args.x + i + kLanes), odd);
    }
    for (; i < args.n; i += kLanes) {
      even = hn::MulAdd(hn::Load(d, y + i), hn::Load(d, args.x + i), even);
    }
    args.out[row] = args.factor * hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
  }
}

float Greatest(const float* x, std::size_t n) {
  const FloatTag d;
  Floats peaks = hn::Zero(d);
  for (std::size_t i = 0; i < n; i += kLanes) peaks = hn::Max(peaks, hn::Load(d, x + i));
  return hn::GetLane(hn::MaxOfLanes(d, peaks));
}

void Scale(float* x, std::size_t n, float factor) {
  const FloatTag d;
  const Floats f = hn::Set(d, factor);
  for (std::size_t i = 0; i < n; i += kLanes) hn::Store(hn::Mul(hn::Load(d, x + i), f), d, x + i);
}

void AddScaled(float* x, const float* y, std::size_t n, float factor) {
  const FloatTag d;
  const Floats f = hn::Set(d, factor);
  for (std::size_t i = 0; i < n; i += kLanes) {
    hn::Store(hn::MulAdd(hn::Load(d, y + i), f, hn::Load(d, x + i)), d, x + i);
  }
}

VectorKernels Kernels() {
  return {&WidenHalvesScaled, &ComputeRowDots, &Greatest, &Scale, &AddScaled};
}

}  // namespace
}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvault::cpu {

VectorKernels vector_kernels(InstructionSet set) {
  static constexpr VectorKernels (*kTable[])() = KVAULT_SIMD_TABLE(Kernels);
  return kTable[static_cast<std::size_t>(set)]();
}

}  // namespace kvault::cpu
#endif
