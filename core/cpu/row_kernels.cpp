#include "core/cpu/row_kernels.hpp"

#include "core/base/assert.hpp"
#include "core/cpu/simd_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/row_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "core/cpu/rotate-inl.hpp"

// Compiled once per instruction set; the tables at the end name them all.
HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {

void Rotate(const Rotation& rotation, float* rows, std::size_t n_row, std::size_t stride) {
  RotateRows(rotation, rows, n_row, stride);
}

void RotateInverse(const Rotation& rotation, float* rows, std::size_t n_row, std::size_t stride) {
  RotateRowsInverse(rotation, rows, n_row, stride);
}

}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvault::cpu {
namespace {

using RotateFunction = void (*)(const Rotation&, float*, std::size_t, std::size_t);
constexpr RotateFunction kRotate[] = KVAULT_SIMD_TABLE(Rotate);
constexpr RotateFunction kRotateInverse[] = KVAULT_SIMD_TABLE(RotateInverse);
constexpr RowKernels kRowKernels[kInstructionSetCount] = {
    {kRotate[0], kRotateInverse[0]}, {kRotate[1], kRotateInverse[1]},
    {kRotate[2], kRotateInverse[2]}, {kRotate[3], kRotateInverse[3]},
    {kRotate[4], kRotateInverse[4]}, {kRotate[5], kRotateInverse[5]}};

}  // namespace

const RowKernels& row_kernels(InstructionSet set) {
  const RowKernels& kernels = kRowKernels[static_cast<std::size_t>(set)];
  KVAULT_ASSERT(kernels.rotate != nullptr && is_supported(set));
  return kernels;
}

}  // namespace kvault::cpu
#endif
