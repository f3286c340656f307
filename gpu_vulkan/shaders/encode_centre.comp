#version 460
#extension GL_GOOGLE_include_directive : require

// Second of an encode, for blocks that are to be centred: the mean over the tokens, as binary16
// holds it, and of a group of rows the sum over the tokens of |y - mean|^2 / |y|^2, by which the
// third decides whether the mean stays.

#include "gpu_vulkan/shaders/common.glsl"
#include "gpu_vulkan/shaders/half.glsl"
#include "gpu_vulkan/shaders/row_group.glsl"
#include "gpu_vulkan/shaders/row_sums.glsl"
#include "gpu_vulkan/shaders/encode.glsl"

// Rows are scaled to a maximum of 1..2, so that tiny ones have an energy. What is left of such a
// row beside a mean it does not resemble is then huge: more than this says nothing more.
const float kScaledLimit = 1099511627776.0;  // 2^40

shared float mean[KVAULT_HEAD_DIM_MAX];
shared float row_ratios[kGroupRows];

// Every group makes the mean for itself; the first one leaves it to the third shader.
void make_mean(uint block, uint group) {
  Floats column_sums = Floats(scratch_at(block, push.column_sums));
  for (uint dim = gl_LocalInvocationIndex; dim < kHeadDim; dim += KVAULT_THREADS) {
    float sum = 0;
    for (uint i = 0; i < kGroups; ++i) sum += column_sums.at[i * kHeadDim + dim];
    const float exact = sum * (1.0 / float(KVAULT_PAGE_N_TOKEN));
    const uint rounded = half_bits_of_float(floatBitsToUint(exact));
    mean[dim] = uintBitsToFloat(float_bits_of_half(rounded));
    if (group != 0) continue;
    Floats(scratch_at(block, push.mean)).at[dim] = mean[dim];
    if ((rounded & ~kHalfSign) >= kHalfInfinity) {
      atomicOr(Words(scratch_at(block, push.misfit)).at[0], 1u);
    }
  }
}

// |y - mean|^2 / |y|^2 of a thread's row; 1 for a row of zeros.
float energy_ratio(uint block, uint group) {
  Floats rows = Floats(scratch_at(block, group * kGroupValues * 4));
  float y[kRowSteps];
  uint largest = 0;
  [[unroll]] for (uint i = 0; i < kRowSteps; ++i) {
    y[i] = rows.at[row_of_thread() * kHeadDim + dim_of_step(i)];
    largest = max(largest, magnitude_bits(y[i]));
  }
  const uint exponent = max_over_row(largest) >> kMantissaBits;
  const uint opposite = 2 * kFloatBias - min(exponent, 2 * kFloatBias - 1);
  const float scale = uintBitsToFloat(opposite << kMantissaBits);
  vec2 energies = vec2(0);
  [[unroll]] for (uint i = 0; i < kRowSteps; ++i) {
    const float before = y[i] * scale;
    const float after = min(abs(y[i] - mean[dim_of_step(i)]) * scale, kScaledLimit);
    energies += vec2(before * before, after * after);
  }
  energies = sum_over_row(energies);
  return exponent == 0 ? 1.0 : energies.y / energies.x;
}

void main() {
  const uint block = gl_WorkGroupID.x / kGroups;
  const uint group = gl_WorkGroupID.x % kGroups;
  make_mean(block, group);
  barrier();
  const float ratio = energy_ratio(block, group);
  if (gl_LocalInvocationIndex % kRowThreads == 0) row_ratios[row_of_thread()] = ratio;
  barrier();
  if (gl_LocalInvocationIndex != 0) return;
  float sum = 0;
  for (uint row = 0; row < kGroupRows; ++row) sum += row_ratios[row];
  Floats(scratch_at(block, push.ratio_sums)).at[group] = sum;
}
