#include <algorithm>
#include <type_traits>

#include "core/cpu/attend_kernels.hpp"
#include "core/cpu/simd_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/coded_page.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/cpu/matrix_products-inl.hpp"
#include "core/cpu/unpack-inl.hpp"
#include "core/cpu/vector_products-inl.hpp"

// A block is unpacked strip by strip, and every strip multiplied by all rows while it is in the
// first-level cache.

HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {
namespace {

/// Calls with_scheme(std::integral_constant<Scheme>); raw blocks do not come here.
template <class WithScheme>
HWY_INLINE void ForScheme(Scheme scheme, const WithScheme& with_scheme) {
  switch (scheme) {
    case Scheme::q8:
      return with_scheme(std::integral_constant<Scheme, Scheme::q8>());
    case Scheme::tq4:
      return with_scheme(std::integral_constant<Scheme, Scheme::tq4>());
    case Scheme::tq3:
      return with_scheme(std::integral_constant<Scheme, Scheme::tq3>());
    case Scheme::tq2:
      return with_scheme(std::integral_constant<Scheme, Scheme::tq2>());
    case Scheme::raw:
      return;
  }
}

template <class Products>
void ComputeKeyLogits(const KeyLogits& args) {
  Prefetcher prefetcher(args.ahead);
  const std::size_t vector_stride = Products::vector_stride(args.n_step);
  for (std::size_t first = 0; first < kPageTokens; first += Products::kStrip) {
    ForScheme(args.codes.scheme, [&](auto scheme) {
      UnpackKeyStrip<decltype(scheme)::value, Products::kStepStride>(
          args.codes, first, Products::kStrip, vector_stride, args.tile, prefetcher);
    });
    Products::take_keys(args, first, prefetcher);
  }
  prefetcher.finish();
}

template <class Products>
void AddValueSums(const ValueSums& args) {
  Prefetcher prefetcher(args.ahead);
  const std::size_t dim_end = args.codes.padded_dim;
  constexpr std::size_t kVectorStride = Products::vector_stride(kQuads * kStepsPerQuad);
  for (std::size_t first = 0; first < dim_end; first += Products::kStrip) {
    const std::size_t n_dim = std::min(Products::kStrip, dim_end - first);
    ForScheme(args.codes.scheme, [&](auto scheme) {
      UnpackValueStrip<decltype(scheme)::value, Products::kStepStride>(
          args.codes, first, n_dim, kVectorStride, args.tile, prefetcher);
    });
    Products::take_values(args, first, n_dim, prefetcher);
  }
  prefetcher.finish();
}

void EnterNothing(std::size_t, ThreadSetting&) {}
void LeaveNothing(const ThreadSetting&) {}

template <class Products>
CodedKernels KernelsOf() {
  return {kForm, &EnterNothing, &LeaveNothing, &ComputeKeyLogits<Products>,
          &AddValueSums<Products>};
}
CodedKernels Kernels() { return KernelsOf<VectorProducts<Dot>>(); }

#if HWY_TARGET == HWY_AVX2
CodedKernels VnniKernels() {
#if KVAULT_CPU_VEX_VNNI
  return KernelsOf<VectorProducts<DotVnni>>();
#else
  return Kernels();
#endif
}
#endif

#if HWY_TARGET == HWY_AVX3_DL
CodedKernels AmxKernels() {
#if KVAULT_CPU_BYTES
  return {kForm, &EnterMatrices, &LeaveMatrices, &ComputeKeyLogits<MatrixProducts>,
          &AddValueSums<MatrixProducts>};
#else
  return Kernels();
#endif
}
#endif

}  // namespace
}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvault::cpu {

CodedKernels coded_kernels(InstructionSet set) {
  static constexpr CodedKernels (*kTable[])() = KVAULT_SIMD_TABLE(Kernels);
  static constexpr CodedKernels (*kVnni)() = HWY_CHOOSE_AVX2(VnniKernels);
  static constexpr CodedKernels (*kAmx)() = HWY_CHOOSE_AVX3_DL(AmxKernels);
  if (set == InstructionSet::avx_vnni) return kVnni();
  if (set == InstructionSet::amx) return kAmx();
  return kTable[static_cast<std::size_t>(set)]();
}

}  // namespace kvault::cpu
#endif
