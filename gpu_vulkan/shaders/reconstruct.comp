#version 460
#extension GL_GOOGLE_include_directive : require

// Blocks back to rows: a group of rows of one block per workgroup. Coded ones are unpacked, rotated
// back and freed of the equaliser; raw ones are converted.

#include "gpu_vulkan/shaders/common.glsl"
#include "gpu_vulkan/shaders/codes.glsl"
#include "gpu_vulkan/shaders/half.glsl"
#include "gpu_vulkan/shaders/row_group.glsl"
#define KVAULT_ROTATE_FLOATS KVAULT_GROUP_FLOATS
#include "gpu_vulkan/shaders/rotate.glsl"

layout(constant_id = 2) const uint kFormat = KVAULT_FORMAT_RAW_F16;  // less KVAULT_FORMAT_CENTRED
layout(constant_id = 3) const uint kRowType = KVAULT_FORMAT_RAW_F32;

const bool kIsRaw = kFormat <= KVAULT_FORMAT_RAW_F32;
const bool kIsWide = kRowType == KVAULT_FORMAT_RAW_F32;
const uint kGroupWords = kIsWide ? kGroupValues : kGroupValues / 2;
const uint kRowWords = kIsWide ? kHeadDim : kHeadDim / 2;

// gpu_vulkan/reconstruct.cpp is the same in C++.
struct ReconstructJob {
  uvec2 block;
  uint index;  // of the block in the call
  uint unused;
};
layout(buffer_reference, std430, buffer_reference_align = 8) buffer ReconstructJobs {
  ReconstructJob at[];
};

layout(push_constant, std430) uniform Push {
  uvec2 jobs;         // of this dispatch
  uvec2 equaliser;    // halves [block from first_index on][kHeadDim]; 0: all ones
  uvec2 rotation;     // Runtime::rotation
  uvec2 rows;         // words [page from first_index on][token][n_head][of kHeadDim elements]
  uint first_index;
  float step;         // of the scheme
  uint is_value;
  uint is_centred;
  uint n_head;
  uint unused;
} push;

// Where the group's first row stands among push.rows, and a word of the group: rows of a token's
// heads lie side by side.
uint first_place(ReconstructJob job, uint group) {
  const uint block = job.index - push.first_index;
  const uint token = block / push.n_head * KVAULT_PAGE_N_TOKEN + group * kGroupRows;
  return (token * push.n_head + block % push.n_head) * kRowWords;
}

uint place_of_word(uint first, uint word) {
  return first + word / kRowWords * push.n_head * kRowWords + word % kRowWords;
}

shared float factor[KVAULT_HEAD_DIM_MAX];  // diagonal of the rotation over equaliser
shared float mean[KVAULT_HEAD_DIM_MAX];
shared float row_step[kGroupRows];

void load_planes(ReconstructJob job, uint group) {
  const bool is_equalised = (push.equaliser.x | push.equaliser.y) != 0;
  Words means = Words(address_add(job.block, mean_offset_bytes(kFormat, kHeadDim)));
  for (uint dim = gl_LocalInvocationIndex; dim < kHeadDim; dim += KVAULT_THREADS) {
    float value = Floats(push.rotation).at[dim];
    if (is_equalised) {
      const uint first_entry = (job.index - push.first_index) * kHeadDim;
      value /= load_half(Words(push.equaliser), first_entry + dim);
    }
    factor[dim] = value;
    mean[dim] = 0;
    if (push.is_centred != 0) mean[dim] = load_half(means, dim);
  }
  Words scales = Words(address_add(job.block, scale_offset_bytes(kFormat, kHeadDim)));
  for (uint row = gl_LocalInvocationIndex; row < kGroupRows; row += KVAULT_THREADS) {
    row_step[row] = load_half(scales, group * kGroupRows + row) * push.step;
  }
}

void unpack_rows(Words block, uint group) {
  const uint first = group * kGroupRows * kPaddedDim;
  for (uint i = gl_LocalInvocationIndex; i < kGroupValues; i += KVAULT_THREADS) {
    const uint row = i / kHeadDim;
    const uint dim = i % kHeadDim;
    const uint place = first + place_of_code(push.is_value != 0, row, dim);
    float number;
    if (kFormat == KVAULT_FORMAT_Q8) {
      number = byte_level(block.at[place / 4], place % 4);
    } else {
      number = level(first_level(kFormat), nibble_word(kFormat, block, 0, place / 8), place % 8);
    }
    rotated[i] = mean[dim] + row_step[row] * number;
  }
}

uint element_of_rows(uint i) { return floatBitsToUint(rotated[i] * factor[i % kHeadDim]); }

void decode(ReconstructJob job, uint group) {
  load_levels();
  load_planes(job, group);
  barrier();
  unpack_rows(Words(job.block), group);
  barrier();
  rotate_rows_back(kGroupRows, kHeadDim, Floats(push.rotation));
  Words rows = Words(push.rows);
  const uint first = first_place(job, group);
  for (uint i = gl_LocalInvocationIndex; i < kGroupWords; i += KVAULT_THREADS) {
    rows.at[place_of_word(first, i)] =
        kIsWide ? element_of_rows(i)
                : element_bits(kRowType, element_of_rows(2 * i)) |
                      (element_bits(kRowType, element_of_rows(2 * i + 1)) << 16);
  }
}

void convert(ReconstructJob job, uint group) {
  Words source = Words(job.block);
  Words rows = Words(push.rows);
  const uint first_word = first_place(job, group);
  const uint first = group * kGroupValues;
  for (uint i = gl_LocalInvocationIndex; i < kGroupWords; i += KVAULT_THREADS) {
    uint word;
    if (kFormat == kRowType) {
      word = source.at[group * kGroupWords + i];
    } else if (kIsWide) {
      word = float_bits_at(source, kFormat, first + i);
    } else {
      word = element_bits(kRowType, float_bits_at(source, kFormat, first + 2 * i)) |
             (element_bits(kRowType, float_bits_at(source, kFormat, first + 2 * i + 1)) << 16);
    }
    rows.at[place_of_word(first_word, i)] = word;
  }
}

void main() {
  const uint group = gl_WorkGroupID.x % kGroups;
  const ReconstructJob job = ReconstructJobs(push.jobs).at[gl_WorkGroupID.x / kGroups];
  if (kIsRaw) {
    convert(job, group);
  } else {
    decode(job, group);
  }
}
