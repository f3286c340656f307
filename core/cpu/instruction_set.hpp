#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace kvault::cpu {

/// The instruction sets that the kernels are written for. A build holds those its architecture can
/// have; the processor decides at run time.
enum class InstructionSet : std::uint8_t {
  scalar,    ///< plain C++: any processor
  avx2,      ///< with FMA, F16C and BMI2: x86 since 2013
  avx512,    ///< with VNNI, VBMI and VBMI2: Ice Lake, Zen 4 and later
  neon,      ///< AArch64
  avx_vnni,  ///< avx2, with products of 16 bits and their sum in one: Alder Lake, Zen 5 and later
  amx,       ///< avx512, with products of codes in tile registers: Sapphire Rapids and later
};
inline constexpr std::uint32_t kInstructionSetCount = 6;

std::string_view name_of(InstructionSet set) noexcept;
/// What this build holds, best first.
std::span<const InstructionSet> compiled_instruction_sets() noexcept;
/// Whether this processor can run it. amx: Linux wants to be asked, which lets this process use the
/// tile registers from here on; a signal's frame then takes 8 KiB more.
bool is_supported(InstructionSet set) noexcept;

}  // namespace kvault::cpu
