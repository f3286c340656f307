#pragma once

#include "gpu_cuda/kernels/block.cuh"
#include "gpu_cuda/kernels/turned_rows.cuh"

// The codes of a chunk as they are packed (docs/format.md, "pack"): of a token, or of the four
// tokens of a quad. Lanes that are neighbours have neighbouring chunks.

namespace kvault::cuda {

// Nibble words, of whose nibbles only the bits of a code count:

/// Word `index` of three of packed codes of three bits: a nibble word and its part of the fourth.
KVAULT_DEVICE u32 pack_three_bits(u32 word, u32 fourth, u32 index) {
  return (word & 0x77777777U) | (((fourth >> index) & 0x11111111U) << 3U);
}
/// A word of packed codes of two bits.
KVAULT_DEVICE u32 pack_two_bits(u32 first, u32 second) {
  return (first & 0x33333333U) | ((second & 0x33333333U) << 2U);
}

/// A token's codes, the lowest bits of `code`, to its packed row. All lanes of a warp call.
KVAULT_DEVICE void store_key_chunk(u32 scheme, const u32 (&code)[kChunk], bool is_stored, u32 chunk,
                                   std::byte* row) {
  if (scheme == KVAULT_FORMAT_Q8) {
    u32 word[4] = {};
    KVAULT_UNROLL
    for (u32 i = 0; i < kChunk; ++i) word[i / 4] = shift_pair(code[i], word[i / 4], 8);
    if (is_stored) {
      reinterpret_cast<uint4*>(row)[chunk] = {word[0], word[1], word[2], word[3]};
    }
    return;
  }
  u32 first = 0;
  u32 second = 0;
  KVAULT_UNROLL
  for (u32 i = 0; i < 8; ++i) {
    first = shift_pair(code[i], first, 4);
    second = shift_pair(code[i + 8], second, 4);
  }
  if (scheme == KVAULT_FORMAT_TQ4) {
    if (is_stored) reinterpret_cast<uint2*>(row)[chunk] = {first, second};
  } else if (scheme == KVAULT_FORMAT_TQ2) {
    if (is_stored) reinterpret_cast<u32*>(row)[chunk] = pack_two_bits(first, second);
  } else {
    const bool is_upper = chunk % 2 != 0;
    const u32 others_second = shuffle_xor(second, 1);
    auto* const group = reinterpret_cast<u32*>(row) + chunk / 2 * 3;
    if (!is_stored) return;
    if (is_upper) {
      group[2] = pack_three_bits(first, second, 2);
    } else {
      group[0] = pack_three_bits(first, others_second, 0);
      group[1] = pack_three_bits(second, others_second, 1);
    }
  }
}

/// A quad's codes to its packed row: of every dim those of four tokens, one behind the other in the
/// highest bits of `column`.
KVAULT_DEVICE void store_value_chunk(u32 scheme, const u32 (&column)[kChunk], u32 chunk,
                                     std::byte* row) {
  if (scheme == KVAULT_FORMAT_Q8) {
    KVAULT_UNROLL
    for (u32 i = 0; i < 4; ++i) {
      reinterpret_cast<uint4*>(row)[4 * chunk + i] = {column[4 * i], column[4 * i + 1],
                                                      column[4 * i + 2], column[4 * i + 3]};
    }
    return;
  }
  u32 word[8];
  KVAULT_UNROLL
  for (u32 i = 0; i < 8; ++i) word[i] = permute_bytes(column[2 * i], column[2 * i + 1], 0x7632);
  if (scheme == KVAULT_FORMAT_TQ4) {
    reinterpret_cast<uint4*>(row)[2 * chunk] = {word[0], word[1], word[2], word[3]};
    reinterpret_cast<uint4*>(row)[2 * chunk + 1] = {word[4], word[5], word[6], word[7]};
  } else if (scheme == KVAULT_FORMAT_TQ2) {
    reinterpret_cast<uint4*>(row)[chunk] = {
        pack_two_bits(word[0], word[1]), pack_two_bits(word[2], word[3]),
        pack_two_bits(word[4], word[5]), pack_two_bits(word[6], word[7])};
  } else {
    auto* const target = reinterpret_cast<uint2*>(row) + 3 * chunk;
    target[0] = {pack_three_bits(word[0], word[3], 0), pack_three_bits(word[1], word[3], 1)};
    target[1] = {pack_three_bits(word[2], word[3], 2), pack_three_bits(word[4], word[7], 0)};
    target[2] = {pack_three_bits(word[5], word[7], 1), pack_three_bits(word[6], word[7], 2)};
  }
}

/// A token's chunk as nibble words, or as words of bytes for q8.
KVAULT_DEVICE void load_key_chunk(u32 scheme, const std::byte* row, u32 chunk, u32 (&word)[4]) {
  if (scheme == KVAULT_FORMAT_Q8) {
    const uint4 x = reinterpret_cast<const uint4*>(row)[chunk];
    word[0] = x.x;
    word[1] = x.y;
    word[2] = x.z;
    word[3] = x.w;
  } else {
    word[0] = nibble_word(scheme, reinterpret_cast<const u32*>(row), 2 * chunk);
    word[1] = nibble_word(scheme, reinterpret_cast<const u32*>(row), 2 * chunk + 1);
  }
}

/// A quad's chunk likewise: words of two dims or, for q8, of one.
KVAULT_DEVICE void load_value_chunk(u32 scheme, const std::byte* row, u32 chunk,
                                    u32 (&word)[kChunk]) {
  if (scheme == KVAULT_FORMAT_Q8) {
    KVAULT_UNROLL
    for (u32 i = 0; i < kChunk; ++i)
      word[i] = reinterpret_cast<const u32*>(row)[kChunk * chunk + i];
  } else {
    KVAULT_UNROLL
    for (u32 i = 0; i < kChunk / 2; ++i) {
      word[i] = nibble_word(scheme, reinterpret_cast<const u32*>(row), kChunk / 2 * chunk + i);
    }
  }
}

}  // namespace kvault::cuda
