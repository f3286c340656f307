#include "core/cpu/instruction_set.hpp"

#include "core/cpu/simd_targets.hpp"

#include <hwy/highway.h>
#include <hwy/targets.h>

namespace kvault::cpu {
namespace {

constexpr InstructionSet kCompiled[] = {
#if HWY_TARGETS & HWY_AVX3_DL
    InstructionSet::avx512,
#endif
#if HWY_TARGETS & HWY_AVX2
    InstructionSet::avx2,
#endif
#if HWY_TARGETS & HWY_NEON
    InstructionSet::neon,
#endif
#if HWY_TARGETS & HWY_EMU128
    InstructionSet::scalar,
#endif
};

}  // namespace

std::string_view name_of(InstructionSet set) noexcept {
  switch (set) {
    case InstructionSet::scalar:
      return "scalar";
    case InstructionSet::avx2:
      return "avx2";
    case InstructionSet::avx512:
      return "avx512";
    case InstructionSet::neon:
      return "neon";
  }
  return "";
}

std::span<const InstructionSet> compiled_instruction_sets() noexcept { return kCompiled; }

bool is_supported(InstructionSet set) noexcept {
  switch (set) {
    case InstructionSet::scalar:
      return true;
    case InstructionSet::avx2:
      return (hwy::SupportedTargets() & HWY_AVX2) != 0;
    case InstructionSet::avx512:
      return (hwy::SupportedTargets() & HWY_AVX3_DL) != 0;
    case InstructionSet::neon:
      // Without asking Highway, which wants AES besides; simd_targets.hpp says why.
      return HWY_ARCH_ARM_A64 != 0;
  }
  return false;
}

}  // namespace kvault::cpu
