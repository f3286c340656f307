#version 460
#extension GL_GOOGLE_include_directive : require

// The queries of a tile as attend.comp wants them: column by column, scaled; once as they are, for
// raw keys, and once equalised and rotated, for coded ones. A workgroup takes one row.

#define KVAULT_THREADS 128
#define KVAULT_ROTATE_FLOATS KVAULT_HEAD_DIM_MAX

#include "gpu_vulkan/shaders/common.glsl"
#include "gpu_vulkan/shaders/attend_abi.glsl"
#include "gpu_vulkan/shaders/rotate.glsl"

layout(local_size_x = KVAULT_THREADS) in;
layout(constant_id = 0) const uint kKeyDim = 128;
layout(constant_id = 1) const uint kColumns = 4;

void main() {
  const uint tile_index = gl_WorkGroupID.x / kColumns;
  const uint column = gl_WorkGroupID.x % kColumns;
  const Tile tile = Tiles(push.tiles).at[tile_index];
  const Sequence sequence = Sequences(push.sequences).at[tile.sequence];
  const uint group = push.n_head / push.n_kv_head;
  const uint row = tile.first_row + column;
  const bool is_row = column < tile.n_row;
  const uint query = sequence.first_query + row / group;
  const uint first = (query * push.n_head + tile.kv_head * group + row % group) * kKeyDim;
  const uint padded = padded_head_dim(kKeyDim);
  const uint base = tile_index * padded * kColumns + column;
  Floats table = Floats(push.rotation);
  const bool is_equalised = (sequence.equaliser.x | sequence.equaliser.y) != 0;
  for (uint i = gl_LocalInvocationIndex; i < padded; i += KVAULT_THREADS) {
    const float q =
        is_row && i < kKeyDim ? Floats(push.q).at[first + i] * push.softmax_scale : 0.0;
    Floats(push.q_raw).at[base + i * kColumns] = q;
    if (i < kKeyDim) {
      const float e =
          is_equalised ? load_half(Words(sequence.equaliser), tile.kv_head * kKeyDim + i) : 1.0;
      rotated[i] = q / e * table.at[i];
    }
  }
  barrier();
  rotate_rows(1, kKeyDim, table);
  for (uint i = gl_LocalInvocationIndex; i < padded; i += KVAULT_THREADS) {
    Floats(push.q_rotated).at[base + i * kColumns] = i < kKeyDim ? rotated[i] : 0.0;
  }
}
