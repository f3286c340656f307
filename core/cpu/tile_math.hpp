#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/half.hpp"

namespace kvault::cpu {

/// C[n_row, n_column] += A[n_row, n_inner] B[n_inner, n_column], row-major with the given strides.
/// Every element is summed in the order of `inner`, whatever n_row is: rows never influence each
/// other. pre: n_column % 32 == 0, C and B 64-byte aligned with strides % 16 == 0
struct TileProduct {
  const float* a;
  const float* b;
  float* c;
  std::size_t n_row;
  std::size_t n_inner;
  std::size_t n_column;
  std::size_t a_stride;
  std::size_t b_stride;
  std::size_t c_stride;
};
void accumulate_product(const TileProduct& product);

/// One row of logits s[n] and its running state. Replaces s by exp(s - m), m the new maximum;
/// updates maximum and sum; returns what earlier sums are multiplied by: exp(old m - m).
/// -infinity marks an invisible key. pre: n % 16 == 0, s 64-byte aligned
struct SoftmaxState {
  float maximum;
  float sum;
};
float advance_softmax(float* s, std::size_t n, SoftmaxState& state);

/// x[n] *= factor
void scale_row(float* x, std::size_t n, float factor);
/// x[n] = x[n] * factor[n]
void multiply_rows(float* x, const float* factor, std::size_t n);
/// target[n] = source[n] in float
void widen_halves(const Half* source, float* target, std::size_t n);
/// target[n] = source[n] in float. pre: n % 16 == 0
void widen_bytes(const std::int8_t* source, float* target, std::size_t n);

}  // namespace kvault::cpu
