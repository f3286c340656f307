#version 460
#extension GL_GOOGLE_include_directive : require

// First of an encode: raw rows, equalised and rotated, to the scratch memory, and the sums of their
// columns over a group of rows.

#include "gpu_vulkan/shaders/common.glsl"
#include "gpu_vulkan/shaders/half.glsl"
#include "gpu_vulkan/shaders/row_group.glsl"
#include "gpu_vulkan/shaders/encode.glsl"
#define KVAULT_ROTATE_FLOATS KVAULT_GROUP_FLOATS
#include "gpu_vulkan/shaders/rotate.glsl"

shared float factor[KVAULT_HEAD_DIM_MAX];  // diagonal of the rotation times equaliser

void load_factor(EncodeJob job) {
  const bool is_equalised = (push.equaliser.x | push.equaliser.y) != 0;
  for (uint dim = gl_LocalInvocationIndex; dim < kHeadDim; dim += KVAULT_THREADS) {
    float value = Floats(push.rotation).at[dim];
    if (is_equalised) value *= load_half(Words(push.equaliser), job.index * kHeadDim + dim);
    factor[dim] = value;
  }
}

void load_rows(EncodeJob job, uint group) {
  if (job.source_format == KVAULT_FORMAT_RAW_F32) {
    Floats source = Floats(address_add(job.source, group * kGroupValues * 4));
    for (uint i = gl_LocalInvocationIndex; i < kGroupValues; i += KVAULT_THREADS) {
      rotated[i] = source.at[i] * factor[i % kHeadDim];
    }
    return;
  }
  const bool is_half = job.source_format == KVAULT_FORMAT_RAW_F16;
  Words source = Words(address_add(job.source, group * kGroupValues * 2));
  for (uint i = gl_LocalInvocationIndex; i < kGroupValues / 2; i += KVAULT_THREADS) {
    const uint word = source.at[i];
    const uint low = is_half ? float_bits_of_half(word & 0xFFFFu) : word << 16;
    const uint high = is_half ? float_bits_of_half(word >> 16) : word & 0xFFFF0000u;
    const uint dim = 2 * i % kHeadDim;
    rotated[2 * i] = uintBitsToFloat(low) * factor[dim];
    rotated[2 * i + 1] = uintBitsToFloat(high) * factor[dim + 1];
  }
}

void main() {
  const uint block = gl_WorkGroupID.x / kGroups;
  const uint group = gl_WorkGroupID.x % kGroups;
  const EncodeJob job = EncodeJobs(push.jobs).at[block];
  load_factor(job);
  barrier();
  load_rows(job, group);
  barrier();
  rotate_rows(kGroupRows, kHeadDim, Floats(push.rotation));

  Floats rows = Floats(scratch_at(block, group * kGroupValues * 4));
  for (uint i = gl_LocalInvocationIndex; i < kGroupValues; i += KVAULT_THREADS) {
    rows.at[i] = rotated[i];
  }
  if (group == 0 && gl_LocalInvocationIndex == 0) Words(scratch_at(block, push.misfit)).at[0] = 0;
  if (push.is_centred == 0) return;
  Floats column_sums = Floats(scratch_at(block, push.column_sums));
  for (uint dim = gl_LocalInvocationIndex; dim < kHeadDim; dim += KVAULT_THREADS) {
    float sum = 0;
    for (uint row = 0; row < kGroupRows; ++row) sum += rotated[row * kHeadDim + dim];
    column_sums.at[group * kHeadDim + dim] = sum;
  }
}
