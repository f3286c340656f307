#version 460
#extension GL_GOOGLE_include_directive : require

// What the splits of a tile gathered becomes rows: merged in order, the coded part rotated back,
// divided by the sum. A workgroup takes one row.

#define KVAULT_THREADS 128
#define KVAULT_ROTATE_FLOATS KVAULT_HEAD_DIM_MAX

#include "gpu_vulkan/shaders/common.glsl"
#include "gpu_vulkan/shaders/attend_abi.glsl"
#include "gpu_vulkan/shaders/rotate.glsl"

layout(local_size_x = KVAULT_THREADS) in;
layout(constant_id = 0) const uint kValueDim = 128;
layout(constant_id = 1) const uint kColumns = 4;

const uint kDimsPerThread = KVAULT_HEAD_DIM_MAX / KVAULT_THREADS;

void main() {
  const Tile tile = Tiles(push.tiles).at[gl_WorkGroupID.x / kColumns];
  const uint column = gl_WorkGroupID.x % kColumns;
  if (column >= tile.n_row) return;
  const Sequence sequence = Sequences(push.sequences).at[tile.sequence];
  const uint padded = padded_head_dim(kValueDim);
  const uint size = slot_floats(kColumns, padded);
  Floats partials = Floats(push.partials);
  const uint first = tile.first_slot * 2 * size;

  float maximum = kNothing;
  for (uint i = 0; i < tile.n_slot * 2; ++i) {
    maximum = max(maximum, partials.at[first + i * size + column * 2]);
  }
  float sum = 0;
  float gathered[2][kDimsPerThread];  // raw, coded
  for (uint k = 0; k < kDimsPerThread; ++k) gathered[0][k] = gathered[1][k] = 0;
  for (uint slot = 0; slot < tile.n_slot; ++slot) {
    [[unroll]] for (uint kind = 0; kind < 2; ++kind) {
      const uint at = first + (slot * 2 + kind) * size;
      const float part_maximum = partials.at[at + column * 2];
      if (part_maximum <= kNothing) continue;
      const float weight = exp(part_maximum - maximum);
      sum += weight * partials.at[at + column * 2 + 1];
      const uint values = at + kColumns * 2 + column * padded;
      [[unroll]] for (uint k = 0; k < kDimsPerThread; ++k) {
        const uint dim = gl_LocalInvocationIndex + k * KVAULT_THREADS;
        if (dim < kValueDim) gathered[kind][k] += weight * partials.at[values + dim];
      }
    }
  }

  for (uint k = 0; k < kDimsPerThread; ++k) {
    const uint dim = gl_LocalInvocationIndex + k * KVAULT_THREADS;
    if (dim < kValueDim) rotated[dim] = gathered[1][k];
  }
  barrier();
  Floats table = Floats(push.rotation);
  rotate_rows_back(1, kValueDim, table);

  const uint group = push.n_head / push.n_kv_head;
  const uint row = tile.first_row + column;
  const uint target = (sequence.first_query + row / group) * push.n_head + tile.kv_head * group +
                      row % group;
  for (uint k = 0; k < kDimsPerThread; ++k) {
    const uint dim = gl_LocalInvocationIndex + k * KVAULT_THREADS;
    if (dim >= kValueDim) continue;
    const float value = gathered[0][k] + rotated[dim] * table.at[dim];
    Floats(push.out_rows).at[target * kValueDim + dim] = sum > 0 ? value / sum : 0.0;
  }
  if (gl_LocalInvocationIndex == 0) {
    const float kMinusInfinity = uintBitsToFloat(0xFF800000u);
    Floats(push.lse).at[target] = sum > 0 ? maximum + log(sum) : kMinusInfinity;
  }
}
