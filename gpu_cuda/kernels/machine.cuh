#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

// All that kernels ask of the machine. Where nvcc does not compile, tests/cuda_emulator does it on
// the CPU, so that the same kernels run in tests without a GPU.

#ifdef __CUDACC__
#define KVAULT_DEVICE __device__ __forceinline__
#define KVAULT_KERNEL(max_threads, min_blocks) \
  extern "C" __global__ void __launch_bounds__(max_threads, min_blocks)
#define KVAULT_UNROLL _Pragma("unroll")
#define KVAULT_UNROLL_EIGHT _Pragma("unroll 8")
#define KVAULT_NO_UNROLL _Pragma("unroll 1")
#define KVAULT_SHARED(type, name) __shared__ type name
#define KVAULT_CONSTANT static __constant__
#else
#define KVAULT_DEVICE inline
#define KVAULT_KERNEL(max_threads, min_blocks) extern "C" void
#define KVAULT_UNROLL
#define KVAULT_UNROLL_EIGHT
#define KVAULT_NO_UNROLL
#define KVAULT_SHARED(type, name) type& name = *reinterpret_cast<type*>(shared_memory())
#define KVAULT_CONSTANT static constexpr
#endif

namespace kvault::cuda {

using u32 = std::uint32_t;
inline constexpr u32 kWarpThreads = 32;
inline constexpr u32 kLineBytes = 128;  ///< that prefetch() asks for

#ifdef __CUDACC__

KVAULT_DEVICE u32 thread_index() { return threadIdx.x; }
KVAULT_DEVICE u32 n_thread() { return blockDim.x; }
KVAULT_DEVICE u32 block_index() { return blockIdx.x; }
KVAULT_DEVICE u32 n_block() { return gridDim.x; }

KVAULT_DEVICE void sync_block() { __syncthreads(); }
KVAULT_DEVICE void sync_warp() { __syncwarp(); }

/// The value of the lane whose index differs by `mask`.
KVAULT_DEVICE float shuffle_xor(float value, int mask) {
  return __shfl_xor_sync(0xFFFFFFFFU, value, mask);
}
KVAULT_DEVICE u32 shuffle_xor(u32 value, int mask) {
  return __shfl_xor_sync(0xFFFFFFFFU, value, mask);
}
KVAULT_DEVICE bool any_lane(bool value) { return __any_sync(0xFFFFFFFFU, value) != 0; }

/// Bytes of a and b (numbers 0..7), chosen by the four nibbles of the selector; a nibble's top bit
/// stands for the sign of the byte, eight times.
KVAULT_DEVICE u32 permute_bytes(u32 a, u32 b, u32 selector) {
  u32 result;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(selector));
  return result;
}

/// c [16, 8] += a [16, 32] b [32, 8] as mma.m16n8k32 spreads them over a warp (PTX ISA, "Matrix
/// Fragments for mma.m16n8k32"); a of unsigned or signed bytes, b of signed ones.
template <bool kSigned>
KVAULT_DEVICE void multiply_tile(int (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#if __CUDA_ARCH__ >= 800
  if constexpr (kSigned) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
#endif
}

/// c [16, 8] += a [16, 16] b [16, 8] as mma.m16n8k16 spreads them over a warp (PTX ISA, "Matrix
/// Fragments for mma.m16n8k16"); a and b of pairs of halves.
KVAULT_DEVICE void multiply_tile(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

/// Pairs of halves: a * b + c and a * b, entry by entry.
KVAULT_DEVICE u32 multiply_add_halves(u32 a, u32 b, u32 c) {
  u32 result;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
  return result;
}
KVAULT_DEVICE u32 multiply_halves(u32 a, u32 b) {
  u32 result;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  return result;
}
/// A pair of halves, rounded to nearest, the first one in the low bits.
KVAULT_DEVICE u32 round_to_halves(float first, float second) {
  const __half2 pair = __floats2half2_rn(first, second);
  return u32{__half_as_ushort(pair.x)} | u32{__half_as_ushort(pair.y)} << 16U;
}

/// The transpose of an [8, 8] matrix of 16-bit entries, a pair of columns in every lane.
KVAULT_DEVICE u32 transpose_pairs(u32 pair) {
  u32 result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(pair));
  return result;
}

KVAULT_DEVICE float fused_multiply_add(float a, float b, float c) { return __fmaf_rn(a, b, c); }

/// a * b + c, no less than 0 and no more than 1; 0 for NaN.
KVAULT_DEVICE float multiply_add_saturated(float a, float b, float c) {
  float result;
  asm("fma.rn.sat.f32 %0, %1, %2, %3;" : "=f"(result) : "f"(a), "f"(b), "f"(c));
  return result;
}
/// a * b + c, rounded down.
KVAULT_DEVICE float multiply_add_down(float a, float b, float c) { return __fmaf_rd(a, b, c); }

/// A word of shared memory, `offset_bytes` behind `first`: bits beyond 32 of the sum are left out.
KVAULT_DEVICE u32 load_shared_word(const u32* first, u32 offset_bytes) {
  const u32 address = static_cast<u32>(__cvta_generic_to_shared(first)) + offset_bytes;
  u32 result;
  asm("ld.shared.u32 %0, [%1];" : "=r"(result) : "r"(address) : "memory");
  return result;
}

/// {high, low} shifted right by `n` bits, up to 31.
KVAULT_DEVICE u32 shift_pair(u32 high, u32 low, u32 n) { return __funnelshift_r(low, high, n); }

/// 1 / sqrt(x) within 2 ulp, for normal x.
KVAULT_DEVICE float reciprocal_root_fast(float x) {
  float result;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// 1 / x within 1 ulp, for normal x.
KVAULT_DEVICE float reciprocal_fast(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// Has the memory fetch the line at an address that is valid.
KVAULT_DEVICE void prefetch(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

/// 2^x within 2 ulp; 0 below 2^-126.
KVAULT_DEVICE float exp2_fast(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

#endif

KVAULT_DEVICE u32 lane_index() { return thread_index() % kWarpThreads; }
KVAULT_DEVICE u32 warp_index() { return thread_index() / kWarpThreads; }
KVAULT_DEVICE u32 n_warp() { return n_thread() / kWarpThreads; }

/// Sums and maxima over a warp, in an order of their own; every lane gets them.
KVAULT_DEVICE float sum_of_warp(float value) {
  for (int mask = kWarpThreads / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}
KVAULT_DEVICE float max_of_warp(float value) {
  for (int mask = kWarpThreads / 2; mask > 0; mask /= 2) {
    value = fmaxf(value, shuffle_xor(value, mask));
  }
  return value;
}

KVAULT_DEVICE float bits_as_float(u32 bits) {
#ifdef __CUDACC__
  return __uint_as_float(bits);
#else
  return std::bit_cast<float>(bits);
#endif
}
KVAULT_DEVICE u32 float_as_bits(float value) {
#ifdef __CUDACC__
  return __float_as_uint(value);
#else
  return std::bit_cast<u32>(value);
#endif
}
KVAULT_DEVICE float half_as_float(std::uint16_t bits) {
  return __half2float(__ushort_as_half(bits));
}
KVAULT_DEVICE std::uint16_t float_as_half(float value) {
  return __half_as_ushort(__float2half_rn(value));
}
KVAULT_DEVICE std::uint16_t float_as_bfloat16(float value) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

}  // namespace kvault::cuda
