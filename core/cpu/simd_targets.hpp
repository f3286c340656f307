#pragma once

// Which of Highway's targets are compiled: included before any of its headers, everywhere alike.
// SSSE3, SSE4 and AVX-512 without VNNI are left out: few machines, and each costs a compilation of
// every kernel. They run the next lower set. Vectors of SVE fit no struct and no array.
#define HWY_WANT_AVX3_DL
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
// AArch64 always has NEON, so nothing is detected there. Highway would, and compile NEON for
// processors with AES alone: no kernel uses it, and GCC then inlines no vector into a constructor.
#ifndef TOOLCHAIN_MISS_SYS_AUXV_H
#define TOOLCHAIN_MISS_SYS_AUXV_H
#endif
// The scalar target is Highway's emulation of 128-bit vectors. Highway gives it up for GCC 12.2,
// whose vectoriser gets products' high halves wrong (bug 106322); no kernel here takes such a half,
// and the conformance tests run every target.
#define HWY_BROKEN_EMU128 0

// A function that every target defines in its HWY_NAMESPACE, as a table indexed by InstructionSet;
// null where the build has no such target; avx_vnni takes
// those of avx2, amx those of avx512. For the part of a source that
// HWY_ONCE guards.
#define KVAULT_SIMD_TABLE(function)                                                         \
  {                                                                                         \
    HWY_CHOOSE_FALLBACK(function), HWY_CHOOSE_AVX2(function), HWY_CHOOSE_AVX3_DL(function), \
        HWY_CHOOSE_NEON(function), HWY_CHOOSE_AVX2(function), HWY_CHOOSE_AVX3_DL(function)  \
  }

// Before a loop over registers: unrolled whatever the level of optimisation, or they live in
// memory.
#define KVAULT_UNROLL _Pragma("GCC unroll 16")
