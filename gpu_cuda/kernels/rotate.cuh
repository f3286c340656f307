#pragma once

#include "gpu_cuda/kernel_abi.hpp"
#include "gpu_cuda/kernels/machine.cuh"

// The rotation y = H S x and its inverse S H^T y of rows in shared memory (docs/format.md, "The
// rotation"), by all threads of a block. Every call ends with a sync_block().

namespace kvault::cuda {

/// Sums and differences of values whose places differ by kFirst, then by 2 * kFirst, .. kEnd / 2.
template <u32 kFirst, u32 kEnd, u32 kCount>
KVAULT_DEVICE void add_and_subtract(float (&value)[kCount]) {
  KVAULT_UNROLL
  for (u32 half = kFirst; half < kEnd; half *= 2) {
    KVAULT_UNROLL
    for (u32 pair = 0; pair < kCount / 2; ++pair) {
      const u32 low = pair / half * 2 * half + pair % half;
      const float a = value[low];
      const float b = value[low + half];
      value[low] = a + b;
      value[low + half] = a - b;
    }
  }
}

/// log2(kRadix) stages of the Sylvester transform at once, from stride `stride` on; the sums are
/// those of core/codec/rotation.cpp, bit by bit.
template <u32 kRadix>
KVAULT_DEVICE void transform_stages(float* x, u32 n_value, u32 stride) {
  for (u32 i = thread_index(); i < n_value / kRadix; i += n_thread()) {
    float* const first = x + (i / stride) * stride * kRadix + i % stride;
    float value[kRadix];
    KVAULT_UNROLL
    for (u32 j = 0; j < kRadix; ++j) value[j] = first[j * stride];
    add_and_subtract<1, kRadix>(value);
    KVAULT_UNROLL
    for (u32 j = 0; j < kRadix; ++j) first[j * stride] = value[j];
  }
  sync_block();
}

/// The Sylvester transform of every run of `order` values.
KVAULT_DEVICE void transform_runs(float* x, u32 n_value, u32 order) {
  u32 stride = 1;
  for (; order / stride >= 16; stride *= 16) transform_stages<16>(x, n_value, stride);
  if (order / stride == 8) transform_stages<8>(x, n_value, stride);
  if (order / stride == 4) transform_stages<4>(x, n_value, stride);
  if (order / stride == 2) transform_stages<2>(x, n_value, stride);
}

/// P_m times the columns of values that belong together, or its transpose.
template <u32 kOrder>
KVAULT_DEVICE void multiply_paley(float* x, u32 n_value, u32 head_dim, bool is_transposed,
                                  const float* signs) {
  const u32 run = head_dim / kOrder;
  for (u32 i = thread_index(); i < n_value / kOrder; i += n_thread()) {
    float* const first = x + i / run * head_dim + i % run;
    float value[kOrder];
    KVAULT_UNROLL
    for (u32 j = 0; j < kOrder; ++j) value[j] = first[j * run];
    KVAULT_NO_UNROLL
    for (u32 row = 0; row < kOrder; ++row) {
      float sum = 0;
      KVAULT_UNROLL
      for (u32 column = 0; column < kOrder; ++column) {
        const u32 entry = is_transposed ? column * kOrder + row : row * kOrder + column;
        sum += signs[entry] * value[column];
      }
      first[row * run] = sum;
    }
  }
  sync_block();
}

KVAULT_DEVICE void multiply_paley(float* x, u32 n_value, const RotationTable& table,
                                  bool is_transposed) {
  const float* const signs = table.paley_signs;
  if (table.paley_order == 12) {
    multiply_paley<12>(x, n_value, table.head_dim, is_transposed, signs);
  } else if (table.paley_order == 20) {
    multiply_paley<20>(x, n_value, table.head_dim, is_transposed, signs);
  } else if (table.paley_order == 28) {
    multiply_paley<28>(x, n_value, table.head_dim, is_transposed, signs);
  }
}

/// H, without its norm, of rows that were multiplied by scaled_signs before.
KVAULT_DEVICE void rotate_rows(float* x, u32 n_row, const RotationTable& table) {
  const u32 n_value = n_row * table.head_dim;
  transform_runs(x, n_value, table.head_dim / table.paley_order);
  multiply_paley(x, n_value, table, false);
}

/// H^T likewise; rows are to be multiplied by scaled_signs afterwards.
KVAULT_DEVICE void rotate_rows_back(float* x, u32 n_row, const RotationTable& table) {
  const u32 n_value = n_row * table.head_dim;
  multiply_paley(x, n_value, table, true);
  transform_runs(x, n_value, table.head_dim / table.paley_order);
}

}  // namespace kvault::cuda
