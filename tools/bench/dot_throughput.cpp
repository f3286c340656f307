#include "tools/bench/dot_throughput.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tools/bench/dot_throughput.cpp"
#include "core/cpu/simd_targets.hpp"

#include <hwy/foreach_target.h>

#include <hwy/highway.h>

// Twelve accumulators: more than latency times instructions per cycle anywhere. Assembly, so that
// no compiler merges, drops or spills a dot; the wide registers it names exist in both targets.
#ifndef KVAULT_TWELVE_TIMES
#define KVAULT_TWELVE_TIMES(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define KVAULT_CLEAR_512(i) "vpxord %%zmm" #i ", %%zmm" #i ", %%zmm" #i "\n\t"
#define KVAULT_DOT_512(i) "vpdpbusd %%zmm13, %%zmm12, %%zmm" #i "\n\t"
#define KVAULT_CLEAR_256(i) "vpxor %%ymm" #i ", %%ymm" #i ", %%ymm" #i "\n\t"
#define KVAULT_DOT_256(i)                  \
  "vpmaddwd %%ymm13, %%ymm12, %%ymm14\n\t" \
  "vpaddd %%ymm14, %%ymm" #i ", %%ymm" #i "\n\t"
#define KVAULT_VNNI_256(i) "%{vex%} vpdpwssd %%ymm13, %%ymm12, %%ymm" #i "\n\t"
#define KVAULT_REGISTERS                                                                   \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
      "xmm11", "xmm12", "xmm13", "xmm14", "cc"
#endif

HWY_BEFORE_NAMESPACE();
namespace kvault::tools {
namespace HWY_NAMESPACE {

/// 12 dots in each of `n_round`.
void RunDots([[maybe_unused]] std::uint64_t n_round) {
#if HWY_TARGET == HWY_AVX3_DL
  asm volatile(KVAULT_TWELVE_TIMES(KVAULT_CLEAR_512) KVAULT_CLEAR_512(12) KVAULT_CLEAR_512(13)
               "1:\n\t" KVAULT_TWELVE_TIMES(KVAULT_DOT_512) "dec %0\n\t"
               "jnz 1b"
               : "+r"(n_round)
               :
               : KVAULT_REGISTERS);
#elif HWY_TARGET == HWY_AVX2
  asm volatile(KVAULT_TWELVE_TIMES(KVAULT_CLEAR_256) KVAULT_CLEAR_256(12) KVAULT_CLEAR_256(13)
               "1:\n\t" KVAULT_TWELVE_TIMES(KVAULT_DOT_256) "dec %0\n\t"
               "jnz 1b"
               : "+r"(n_round)
               :
               : KVAULT_REGISTERS);
#endif
}

#if HWY_TARGET == HWY_AVX2
/// The same, of processors with VNNI.
void RunVnniDots(std::uint64_t n_round) {
  asm volatile(KVAULT_TWELVE_TIMES(KVAULT_CLEAR_256) KVAULT_CLEAR_256(12) KVAULT_CLEAR_256(13)
               "1:\n\t" KVAULT_TWELVE_TIMES(KVAULT_VNNI_256) "dec %0\n\t"
               "jnz 1b"
               : "+r"(n_round)
               :
               : KVAULT_REGISTERS);
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace kvault::tools
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvault::tools {
namespace {

using RunDotsFunction = void (*)(std::uint64_t);
constexpr RunDotsFunction kRunDots[cpu::kInstructionSetCount] = KVAULT_SIMD_TABLE(RunDots);

/// 64 dots in each of `n_round`: four products of tiles of 16 rows.
void RunTileRows([[maybe_unused]] std::uint64_t n_round) {
#if HWY_ARCH_X86_64
  struct alignas(64) {
    std::uint8_t palette[16] = {1};
    std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    std::uint8_t n_row[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } shapes;
  asm volatile(
      "ldtilecfg %1\n\t"
      "1:\n\t"
      "tdpbusd %%tmm7, %%tmm6, %%tmm0\n\t"
      "tdpbusd %%tmm7, %%tmm6, %%tmm1\n\t"
      "tdpbusd %%tmm7, %%tmm6, %%tmm2\n\t"
      "tdpbusd %%tmm7, %%tmm6, %%tmm3\n\t"
      "dec %0\n\t"
      "jnz 1b\n\t"
      "tilerelease"
      : "+r"(n_round)
      : "m"(shapes)
      : "cc");
#endif
}

struct DotLoop {
  RunDotsFunction run;
  double dots_per_round;
};
DotLoop loop_of(cpu::InstructionSet set) {
  if (set == cpu::InstructionSet::amx) return {&RunTileRows, 64};
  if (set == cpu::InstructionSet::avx_vnni) return {HWY_CHOOSE_AVX2(RunVnniDots), 12};
  return {kRunDots[static_cast<std::size_t>(set)], 12};
}

constexpr std::uint64_t kVisitRounds = 50000;

}  // namespace

bool DotThroughput::has_dots(cpu::InstructionSet set) {
  switch (set) {
    case cpu::InstructionSet::amx:
    case cpu::InstructionSet::avx512:
    case cpu::InstructionSet::avx2:
    case cpu::InstructionSet::avx_vnni:
      return loop_of(set).run != nullptr && cpu::is_supported(set);
    case cpu::InstructionSet::scalar:
    case cpu::InstructionSet::neon:
      return false;
  }
  return false;
}

Result<double> DotThroughput::visit_us() {
  const auto [run_dots, dots_per_round] = loop_of(set_);
  run_dots(kVisitRounds / 10);  // wide units need some microseconds to wake up
  const BenchClock::time_point start = BenchClock::now();
  run_dots(kVisitRounds);
  return us_since(start) * kTimedDots / (kVisitRounds * dots_per_round);
}

}  // namespace kvault::tools
#endif  // HWY_ONCE
