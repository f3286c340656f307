// What the four shaders of an encode share; gpu_vulkan/encode.cpp is the same in C++. One after the
// other they
//
//   encode_rotate    turn the rows, and add up their columns
//   encode_centre    make the mean of the columns, and find what it is worth
//   encode_quantise  turn the rows into codes and scales, packed
//   encode_store     copy the block to its target, if it fits its format
//
// What a block needs in between lies in its part of the scratch memory.

struct EncodeJob {
  uvec2 source;
  uvec2 target;
  uint source_format;
  uint index;  // of the block in the call
};
layout(buffer_reference, std430, buffer_reference_align = 8) buffer EncodeJobs { EncodeJob at[]; };

layout(push_constant, std430) uniform Push {
  uvec2 jobs;       // of this dispatch
  uvec2 equaliser;  // halves [n_block][kHeadDim]; 0: all ones
  uvec2 rotation;   // Runtime::rotation
  uvec2 outcomes;   // words [n_block]: 1 where the block does not fit
  uvec2 scratch;    // of the dispatch's first block: floats [token][kHeadDim], rotated
  uint block_stride;  // from one block's scratch to the next one's, in bytes
  // Offsets in a block's scratch, in bytes:
  uint column_sums;   // floats [kGroups][kHeadDim]
  uint mean;          // floats [kHeadDim]
  uint ratio_sums;    // floats [kGroups]
  uint misfit;        // a word: 1 where the block does not fit
  uint image;         // the coded block
  uint image_size;    // in bytes
  float step;         // of the scheme
  uint is_value;
  uint is_centred;
  uint scale_rule;
} push;

// Of push.scale_rule; core/codec/scale_rule.hpp.
const uint kPlain = 0;
const uint kMatched = 1;
const uint kLeastSquares = 2;
const uint kUnbiased = 3;

uvec2 scratch_at(uint block, uint offset_bytes) {
  return address_add(push.scratch, block * push.block_stride + offset_bytes);
}
