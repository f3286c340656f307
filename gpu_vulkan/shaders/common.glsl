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

// The value of a finite half. Not unpackHalf2x16, with which drivers may take subnormals for zero.
float half_value(uint bits) {
  const uint magnitude = bits & 0x7FFFu;
  const float value = magnitude < 0x0400u ? float(magnitude) * 5.9604644775390625e-8
                                          : uintBitsToFloat((magnitude << 13) + (112u << 23));
  return (bits & 0x8000u) != 0 ? -value : value;
}

// The two elements in a word of raw rows of 16 bits.
vec2 element_pair(uint word, uint format) {
  if (format == KVAULT_FORMAT_RAW_BF16) {
    return vec2(uintBitsToFloat(word << 16), uintBitsToFloat(word & 0xFFFF0000u));
  }
  return vec2(half_value(word & 0xFFFFu), half_value(word >> 16));
}

// Half `index` of an array of finite halves; `words` starts at half 0.
float load_half(Words words, uint index) {
  return half_value((words.at[index / 2] >> (16 * (index & 1))) & 0xFFFFu);
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
