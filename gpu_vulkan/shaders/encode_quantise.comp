#version 460
#extension GL_GOOGLE_include_directive : require

// Third of an encode: the mean, if it stays, is subtracted; codes and scales go to an image of the
// block in the scratch memory, as any group may yet find that the block does not fit.

#include "gpu_vulkan/shaders/common.glsl"
#include "gpu_vulkan/shaders/half.glsl"
#include "gpu_vulkan/shaders/row_group.glsl"
#include "gpu_vulkan/shaders/row_sums.glsl"
#include "gpu_vulkan/shaders/encode.glsl"

layout(constant_id = 2) const uint kScheme = KVAULT_FORMAT_TQ4;

const bool kIsQ8 = kScheme == KVAULT_FORMAT_Q8;
const uint kBits = kIsQ8                          ? 8
                   : kScheme == KVAULT_FORMAT_TQ4 ? 4
                   : kScheme == KVAULT_FORMAT_TQ3 ? 3
                                                  : 2;
const uint kCodes = 1u << kBits;
const uint kWordBytes = 4;

// The least scale, 2^-14; and residuals too large for any, 2^40: below them squares and their sums
// stay within float.
const float kLeastSize = 6.103515625e-05;
const uint kResidualLimit = (kFloatBias + 40) << kMantissaBits;

shared uint codes[kGroupRows * kPaddedDim];  // in the order in which they are packed
shared uint scales[kGroupRows];              // bits of binary16

// Of the thread's share of its row.
float residual[kRowSteps];

// --- rows ----------------------------------------------------------------------------------------

bool keeps_mean(uint block) {
  if (push.is_centred == 0) return false;
  Floats ratio_sums = Floats(scratch_at(block, push.ratio_sums));
  float sum = 0;
  for (uint i = 0; i < kGroups; ++i) sum += ratio_sums.at[i];
  return sum < float(KVAULT_PAGE_N_TOKEN);
}

// Reads the residuals of a row and finds |r|, q8: max|r|; whether that is within bounds.
bool measure_row(uint block, uint group, bool is_centred, out float size) {
  Floats rows = Floats(scratch_at(block, group * kGroupValues * 4));
  Floats mean = Floats(scratch_at(block, push.mean));
  uint largest = 0;
  float energy = 0;
  [[unroll]] for (uint i = 0; i < kRowSteps; ++i) {
    const uint dim = dim_of_step(i);
    const float y = rows.at[row_of_thread() * kHeadDim + dim];
    residual[i] = is_centred ? y - mean.at[dim] : y;
    largest = max(largest, magnitude_bits(residual[i]));
    energy += residual[i] * residual[i];
  }
  largest = max_over_row(largest);
  size = kIsQ8 ? uintBitsToFloat(largest) : sqrt(sum_over_row(vec2(energy, 0)).x);
  return largest < kResidualLimit;
}

// --- codes ---------------------------------------------------------------------------------------

uint level_of_code(uint code) {
  const uint four[16] = uint[16](KVAULT_TQ4_TABLE);
  const uint three[8] = uint[8](KVAULT_TQ3_TABLE);
  const uint two[4] = uint[4](KVAULT_TQ2_TABLE);
  return kScheme == KVAULT_FORMAT_TQ4   ? four[code & 15]
         : kScheme == KVAULT_FORMAT_TQ3 ? three[code & 7]
                                        : two[code & 3];
}

// The code whose level is nearest to `doubled` / 2, and that level. Boundaries are the middles of
// levels, so doubled they are integers.
uint nearest_code(float doubled, out uint nearest_level) {
  uint nearest = 0;
  nearest_level = level_of_code(0);
  [[unroll]] for (uint code = 1; code < kCodes; ++code) {
    const uint level = level_of_code(code);
    const bool is_above = doubled >= float(level + level_of_code(code - 1));
    nearest = is_above ? code : nearest;
    nearest_level = is_above ? level : nearest_level;
  }
  return nearest;
}

// The codes of a row to shared memory. `factor` makes residuals the integers of q8, or else twice
// the levels around the centre. Of these the sums over the thread's share: of their squares, and of
// their products with the residuals.
vec2 quantise_row(float factor) {
  vec2 sums = vec2(0);
  const uint row = row_of_thread();
  [[unroll]] for (uint i = 0; i < kRowSteps; ++i) {
    uint code;
    if (kIsQ8) {
      const int most = KVAULT_Q8_CODE_MAX;
      code = uint(clamp(int(roundEven(residual[i] * factor)), -most, most)) & 0xFFu;
    } else {
      uint level;
      code = nearest_code(residual[i] * factor + 2 * KVAULT_TABLE_CENTRE, level);
      const float around = 2 * float(level) - 2 * KVAULT_TABLE_CENTRE;
      sums += vec2(around * around, around * residual[i]);
    }
    codes[place_of_code(push.is_value != 0, row, dim_of_step(i))] = code;
  }
  for (uint padded_row = gl_LocalInvocationIndex; padded_row < kGroupRows;
       padded_row += KVAULT_THREADS) {
    for (uint dim = kHeadDim; dim < kPaddedDim; ++dim) {
      codes[place_of_code(push.is_value != 0, padded_row, dim)] = 0;
    }
  }
  return sums;
}

// Bits of the scale of a row, +0 where it or the row is too small; infinity or NaN where too large.
uint scale_bits(float size, vec2 sums) {
  if (size < kLeastSize) return 0;
  const float half_step = 0.5 * push.step;
  float scale = size;
  if (!kIsQ8) {
    if (push.scale_rule == kMatched) scale = size / (sqrt(sums.x) * half_step);
    if (push.scale_rule == kLeastSquares) scale = sums.y / (sums.x * half_step);
    if (push.scale_rule == kUnbiased) scale = size * (size / (sums.y * half_step));
  }
  const uint bits = half_bits_of_float(floatBitsToUint(scale));
  return bits < kHalfMinNormal ? 0 : bits;
}

// --- planes --------------------------------------------------------------------------------------

// Eight codes as the nibbles of a word. Threads whose codes have banks in common begin at different
// ones: `turn` tells them apart.
uint nibbles_at(uint first, uint turn) {
  uint word = 0;
  [[unroll]] for (uint i = 0; i < 8; ++i) {
    const uint at = (i + turn) & 7;
    word |= codes[first + at] << (4 * at);
  }
  return word;
}

// A word of the group's packed codes; docs/format.md, "pack".
uint packed_word(uint index) {
  if (kScheme == KVAULT_FORMAT_TQ4) return nibbles_at(8 * index, index / 4);
  if (kScheme == KVAULT_FORMAT_TQ2) {
    return nibbles_at(16 * index, index / 2) | (nibbles_at(16 * index + 8, index / 2) << 2);
  }
  if (kScheme == KVAULT_FORMAT_TQ3) {
    const uint four = index / 3;
    const uint part = index % 3;
    const uint last = nibbles_at(32 * four + 24, four) >> part;
    return nibbles_at(32 * four + 8 * part, four) | ((last & 0x11111111u) << 3);
  }
  uint word = 0;
  [[unroll]] for (uint i = 0; i < kWordBytes; ++i) {
    const uint at = (i + index / 8) % kWordBytes;
    word |= codes[kWordBytes * index + at] << (8 * at);
  }
  return word;
}

void store_codes(Words image, uint group) {
  const uint n_word = kGroupRows * kPaddedDim * kBits / 32;
  for (uint i = gl_LocalInvocationIndex; i < n_word; i += KVAULT_THREADS) {
    image.at[group * n_word + i] = packed_word(i);
  }
}

void store_scales(Words image, uint group) {
  const uint n_word = kGroupRows / 2;
  const uint first = scale_offset_bytes(kScheme, kHeadDim) / kWordBytes + group * n_word;
  for (uint i = gl_LocalInvocationIndex; i < n_word; i += KVAULT_THREADS) {
    image.at[first + i] = scales[2 * i] | (scales[2 * i + 1] << 16);
  }
}

void store_mean(Words image, Floats mean, bool is_centred) {
  const uint first = mean_offset_bytes(kScheme, kHeadDim) / kWordBytes;
  const uint n_word = push.image_size / kWordBytes - first;
  for (uint i = gl_LocalInvocationIndex; i < n_word; i += KVAULT_THREADS) {
    uint word = 0;
    if (is_centred && 2 * i < kHeadDim) {
      word = half_bits_of_float(floatBitsToUint(mean.at[2 * i])) |
             (half_bits_of_float(floatBitsToUint(mean.at[2 * i + 1])) << 16);
    }
    image.at[first + i] = word;
  }
}

void main() {
  const uint block = gl_WorkGroupID.x / kGroups;
  const uint group = gl_WorkGroupID.x % kGroups;
  const bool is_centred = keeps_mean(block);
  float size;
  bool fits = measure_row(block, group, is_centred, size);
  const float numerator = kIsQ8 ? float(KVAULT_Q8_CODE_MAX) : 2.0 / push.step;
  vec2 sums = quantise_row(size < kLeastSize ? 0.0 : numerator / size);
  if (!kIsQ8) sums = sum_over_row(sums);
  const uint scale = scale_bits(size, sums);
  fits = fits && scale < kHalfInfinity;
  if (gl_LocalInvocationIndex % kRowThreads == 0) {
    scales[row_of_thread()] = scale;
    if (!fits) atomicOr(Words(scratch_at(block, push.misfit)).at[0], 1u);
  }
  barrier();
  Words image = Words(scratch_at(block, push.image));
  store_codes(image, group);
  store_scales(image, group);
  if (group == 0) store_mean(image, Floats(scratch_at(block, push.mean)), is_centred);
}
