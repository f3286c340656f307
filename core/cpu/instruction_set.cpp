#include "core/cpu/instruction_set.hpp"

#include "core/cpu/simd_targets.hpp"
#include "core/os/tile_registers.hpp"

#include <hwy/highway.h>
#include <hwy/targets.h>

#if (HWY_TARGETS & HWY_AVX3_DL) && HWY_COMPILER_GCC_ACTUAL && HWY_OS_LINUX
#define KVAULT_CPU_AMX 1
#else
#define KVAULT_CPU_AMX 0
#endif
#if (HWY_TARGETS & HWY_AVX2) && HWY_COMPILER_GCC_ACTUAL
#define KVAULT_CPU_AVX_VNNI 1
#include <cpuid.h>
#else
#define KVAULT_CPU_AVX_VNNI 0
#endif

namespace kvault::cpu {
namespace {

// Everything is asked once: on a virtual machine the host answers CPUID, and takes its time.

bool is_target(std::int64_t target) {
  static const std::int64_t supported = hwy::SupportedTargets();
  return (supported & target) != 0;
}

constexpr InstructionSet kCompiled[] = {
#if KVAULT_CPU_AMX
    InstructionSet::amx,
#endif
#if HWY_TARGETS & HWY_AVX3_DL
    InstructionSet::avx512,
#endif
#if KVAULT_CPU_AVX_VNNI
    InstructionSet::avx_vnni,
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

#if KVAULT_CPU_AVX_VNNI || KVAULT_CPU_AMX
/// Registers of leaf 7 of CPUID; zeros where the processor has no such subleaf.
struct CpuFeatures {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;

  explicit CpuFeatures(unsigned subleaf) {
    unsigned last = 0;
    if (__get_cpuid_count(7, 0, &last, &ebx, &ecx, &edx) == 0 || last < subleaf) return;
    __cpuid_count(7, subleaf, eax, ebx, ecx, edx);
  }
};
#endif

#if KVAULT_CPU_AVX_VNNI
bool has_avx_vnni() {
  constexpr unsigned kAvxVnni = 1U << 4;
  if (!is_target(HWY_AVX2)) return false;
  return (CpuFeatures(1).eax & kAvxVnni) != 0;
}
#else
bool has_avx_vnni() { return false; }
#endif

#if KVAULT_CPU_AMX
bool has_amx() {
  constexpr unsigned kTileInt8 = 1U << 24 | 1U << 25;
  if (!is_target(HWY_AVX3_DL)) return false;
  if ((CpuFeatures(0).edx & kTileInt8) != kTileInt8) return false;
  return allow_tile_registers();
}
#else
bool has_amx() { return false; }
#endif

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
    case InstructionSet::avx_vnni:
      return "avx_vnni";
    case InstructionSet::amx:
      return "amx";
  }
  return "";
}

std::span<const InstructionSet> compiled_instruction_sets() noexcept { return kCompiled; }

bool is_supported(InstructionSet set) noexcept {
  switch (set) {
    case InstructionSet::scalar:
      return true;
    case InstructionSet::avx2:
      return is_target(HWY_AVX2);
    case InstructionSet::avx512:
      return is_target(HWY_AVX3_DL);
    case InstructionSet::neon:
      // Without asking Highway, which wants AES besides; simd_targets.hpp says why.
      return HWY_ARCH_ARM_A64 != 0;
    case InstructionSet::avx_vnni: {
      static const bool has = has_avx_vnni();
      return has;
    }
    case InstructionSet::amx: {
      static const bool has = has_amx();
      return has;
    }
  }
  return false;
}

}  // namespace kvault::cpu
