#version 460
#extension GL_GOOGLE_include_directive : require

// Last of an encode: a workgroup copies a block to its target if it fits, and says so.

#include "gpu_vulkan/shaders/common.glsl"
#include "gpu_vulkan/shaders/row_group.glsl"
#include "gpu_vulkan/shaders/encode.glsl"

void main() {
  const uint block = gl_WorkGroupID.x;
  const EncodeJob job = EncodeJobs(push.jobs).at[block];
  const uint misfit = Words(scratch_at(block, push.misfit)).at[0];
  if (gl_LocalInvocationIndex == 0) Words(push.outcomes).at[job.index] = misfit;
  if (misfit != 0) return;
  WordQuads image = WordQuads(scratch_at(block, push.image));
  WordQuads target = WordQuads(job.target);
  for (uint i = gl_LocalInvocationIndex; i < push.image_size / 16; i += KVAULT_THREADS) {
    target.at[i] = image.at[i];
  }
}
