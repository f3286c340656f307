// What every shader shares: memory by address, and the numbers that blocks are made of.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_control_flow_attributes : require

#include "core/layout/block_abi.inc"

// Addresses travel as uvec2 (low, high), so that no 64-bit integers are needed.
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Words { uint at[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Floats { float at[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) buffer WordQuads { uvec4 at[]; };

uvec2 address_add(uvec2 address, uint bytes) {
  uint carry;
  const uint low = uaddCarry(address.x, bytes, carry);
  return uvec2(low, address.y + carry);
}

// Half `index` of an array of halves; `words` starts at half 0.
float load_half(Words words, uint index) {
  const vec2 pair = unpackHalf2x16(words.at[index / 2]);
  return (index & 1) == 0 ? pair.x : pair.y;
}

// Element `index` of raw rows of a stored format (KVAULT_FORMAT_RAW_*).
float load_raw(Words words, uint format, uint index) {
  if (format == KVAULT_FORMAT_RAW_F32) return uintBitsToFloat(words.at[index]);
  const uint word = words.at[index / 2];
  const uint bits = (index & 1) == 0 ? word & 0xFFFFu : word >> 16;
  if (format == KVAULT_FORMAT_RAW_BF16) return uintBitsToFloat(bits << 16);
  return unpackHalf2x16(bits).x;
}

uint padded_head_dim(uint head_dim) {
  return (head_dim + KVAULT_HEAD_DIM_ALIGNMENT - 1) / KVAULT_HEAD_DIM_ALIGNMENT *
         KVAULT_HEAD_DIM_ALIGNMENT;
}

uint code_bits(uint scheme) {
  return scheme == KVAULT_FORMAT_Q8    ? 8
         : scheme == KVAULT_FORMAT_TQ4 ? 4
         : scheme == KVAULT_FORMAT_TQ3 ? 3
                                       : 2;
}

// Where the planes of a coded block lie, in bytes; core/layout/block_layout.hpp.
uint align_plane(uint size_bytes) {
  return (size_bytes + KVAULT_PLANE_ALIGNMENT_BYTES - 1) / KVAULT_PLANE_ALIGNMENT_BYTES *
         KVAULT_PLANE_ALIGNMENT_BYTES;
}
uint scale_offset_bytes(uint scheme, uint head_dim) {
  return align_plane(KVAULT_PAGE_N_TOKEN * padded_head_dim(head_dim) * code_bits(scheme) / 8);
}
uint mean_offset_bytes(uint scheme, uint head_dim) {
  return scale_offset_bytes(scheme, head_dim) + KVAULT_PAGE_N_TOKEN * 2;
}
