#version 460
#extension GL_GOOGLE_include_directive : require

// The queries of a tile as attend.glsl wants them: column by column, scaled; once as they are, for
// raw keys, once equalised and rotated, for coded ones, and these as integers too where asked for.
// A workgroup takes one row.

#define KVAULT_THREADS 128
#define KVAULT_ROTATE_FLOATS KVAULT_HEAD_DIM_MAX

#include "gpu_vulkan/shaders/common.glsl"
#include "gpu_vulkan/shaders/attend_abi.glsl"
#include "gpu_vulkan/shaders/rotate.glsl"

layout(local_size_x = KVAULT_THREADS) in;
layout(constant_id = 0) const uint kKeyDim = 128;
layout(constant_id = 1) const uint kColumns = 4;
layout(constant_id = 2) const bool kMakesDigits = false;

// The greatest integer of a query: two signed bytes, 256 * high + low, high at most 127.
const float kIntegerMax = 127 * 256;

shared float maxima[KVAULT_THREADS];
shared int sums[KVAULT_THREADS];

// The row in `rotated` as integers, where attend_dot.glsl looks for them.
void store_digits(uint tile_index, uint column, uint padded) {
  float own_maximum = 0;
  for (uint i = gl_LocalInvocationIndex; i < kKeyDim; i += KVAULT_THREADS) {
    own_maximum = max(own_maximum, abs(rotated[i]));
  }
  maxima[gl_LocalInvocationIndex] = own_maximum;
  barrier();
  float maximum = 0;
  for (uint i = 0; i < KVAULT_THREADS; ++i) maximum = max(maximum, maxima[i]);
  const float step = maximum / kIntegerMax;
  // A row too small for its step to count has no digits.
  const float inverse = step > 1e-35 ? 1 / step : 0;
  Words target = Words(push.q_digits);
  const uint first = tile_index * (padded / 2 + 2) * kColumns;
  int sum = 0;
  for (uint word = gl_LocalInvocationIndex; word < padded / 4; word += KVAULT_THREADS) {
    uint high_word = 0;
    uint low_word = 0;
    for (uint j = 0; j < 4; ++j) {
      const uint dim = 4 * word + j;
      const int digits = dim < kKeyDim ? int(roundEven(rotated[dim] * inverse)) : 0;
      const int high = (digits + 128) >> 8;
      const int low = digits - 256 * high;
      sum += digits;
      high_word |= (uint(high) & 0xFFu) << (8 * j);
      low_word |= (uint(low) & 0xFFu) << (8 * j);
    }
    target.at[first + (word * kColumns + column) * 2] = high_word;
    target.at[first + (word * kColumns + column) * 2 + 1] = low_word;
  }
  sums[gl_LocalInvocationIndex] = sum;
  barrier();
  if (gl_LocalInvocationIndex != 0) return;
  for (uint i = 1; i < KVAULT_THREADS; ++i) sum += sums[i];
  const uint at = first + padded / 2 * kColumns + 2 * column;
  target.at[at] = floatBitsToUint(step);
  target.at[at + 1] = uint(sum);
}

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
  if (kMakesDigits) store_digits(tile_index, column, padded);
}
