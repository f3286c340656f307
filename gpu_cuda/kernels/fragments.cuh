#pragma once

#include <cstddef>

#include "core/layout/block_abi.inc"
#include "gpu_cuda/kernels/machine.cuh"

// Packed codes as fragments of mma.m16n8k32, without a shuffle: packed nibbles are selectors of
// byte permutes as they stand, and which dim or token a row of a fragment is, is free to choose.
// Lane l = 4 g + t.
//
// Keys: a step of 32 dims takes a nibble word of 8 dims from every lane t of a row; see key_word().
// Row g of a tile of 16 tokens is token 2 g, row g + 8 token 2 g + 1.
// Values: a tile of 16 dims takes a nibble word of 2 dims from every lane g, of the quads t and
// t + 4 of 32 tokens; see value_word(). Row g is its first dim, row g + 8 its second.

namespace kvault::cuda {

/// The nibble word of a key's row that lane t has in a step; whole groups of four where they are.
template <u32 kSteps>
KVAULT_DEVICE constexpr u32 key_word(u32 t, u32 step) {
  return kSteps % 4 == 0 ? t * kSteps + step : 4 * step + t;
}

/// Nibble words of a quad's row that a lane has behind one another.
template <u32 kTiles>
inline constexpr u32 kValueRun = kTiles % 4 == 0 ? 4 : 2;

/// The nibble word of a quad's row that lane g has in a tile of dims.
template <u32 kTiles>
KVAULT_DEVICE constexpr u32 value_word(u32 g, u32 tile) {
  constexpr u32 kRun = kValueRun<kTiles>;
  return (tile / kRun * 8 + g) * kRun + tile % kRun;
}

/// kN words, by the widest loads that their alignment allows; kAlign in words.
template <u32 kN, u32 kAlign>
KVAULT_DEVICE void load_words(const u32* from, u32 (&words)[kN]) {
  if constexpr (kN % 4 == 0 && kAlign % 4 == 0) {
    KVAULT_UNROLL
    for (u32 i = 0; i < kN / 4; ++i) {
      const uint4 four = reinterpret_cast<const uint4*>(from)[i];
      words[4 * i] = four.x;
      words[4 * i + 1] = four.y;
      words[4 * i + 2] = four.z;
      words[4 * i + 3] = four.w;
    }
  } else if constexpr (kN % 2 == 0 && kAlign % 2 == 0) {
    KVAULT_UNROLL
    for (u32 i = 0; i < kN / 2; ++i) {
      const uint2 two = reinterpret_cast<const uint2*>(from)[i];
      words[2 * i] = two.x;
      words[2 * i + 1] = two.y;
    }
  } else {
    KVAULT_UNROLL
    for (u32 i = 0; i < kN; ++i) words[i] = from[i];
  }
}

/// The four nibble words of a group of three-bit codes.
KVAULT_DEVICE void split_group(u32 p0, u32 p1, u32 p2, u32* words) {
  words[0] = p0 & 0x77777777U;
  words[1] = p1 & 0x77777777U;
  words[2] = p2 & 0x77777777U;
  words[3] = ((p0 >> 3U) & 0x11111111U) | ((p1 >> 2U) & 0x22222222U) | ((p2 >> 1U) & 0x44444444U);
}

/// kWords nibble words of packed codes from word `first` on, kWords and `first` multiples of four.
template <u32 kScheme, u32 kWords>
KVAULT_DEVICE void load_groups(const u32* row, u32 first, u32 (&words)[kWords]) {
  static_assert(kWords % 4 == 0);
  if constexpr (kScheme == KVAULT_FORMAT_TQ4) {
    load_words<kWords, 4>(row + first, words);
  } else if constexpr (kScheme == KVAULT_FORMAT_TQ3) {
    u32 packed[kWords / 4 * 3];
    load_words<kWords / 4 * 3, 1>(row + first / 4 * 3, packed);
    KVAULT_UNROLL
    for (u32 i = 0; i < kWords / 4; ++i) {
      split_group(packed[3 * i], packed[3 * i + 1], packed[3 * i + 2], words + 4 * i);
    }
  } else {
    u32 packed[kWords / 2];
    load_words<kWords / 2, 2>(row + first / 2, packed);
    KVAULT_UNROLL
    for (u32 i = 0; i < kWords; ++i) words[i] = (packed[i / 2] >> (2 * (i % 2))) & 0x33333333U;
  }
}

/// Nibble word `index`, wherever it stands.
template <u32 kScheme>
KVAULT_DEVICE u32 load_word(const u32* row, u32 index) {
  if constexpr (kScheme == KVAULT_FORMAT_TQ4) {
    return row[index];
  } else if constexpr (kScheme == KVAULT_FORMAT_TQ2) {
    return (row[index / 2] >> (2 * (index % 2))) & 0x33333333U;
  } else {
    u32 words[4];
    const u32* const group = row + index / 4 * 3;
    split_group(group[0], group[1], group[2], words);
    const u32 low = index % 2 == 0 ? words[0] : words[1];
    const u32 high = index % 2 == 0 ? words[2] : words[3];
    return index % 4 < 2 ? low : high;
  }
}

/// A codebook in registers, and codes as its levels, in bytes.
template <u32 kScheme>
class Codes {
 public:
  static constexpr bool kIsNibbles = kScheme != KVAULT_FORMAT_Q8;
  /// Registers that eight codes take.
  static constexpr u32 kRegisters = kIsNibbles ? 1 : 2;

  /// `tables`: [4][32], every lane's own copy, so that no compiler keeps it for all of them, where
  /// every use would have to fetch it.
  KVAULT_DEVICE explicit Codes(const u32* tables) {
    if constexpr (kIsNibbles) {
      KVAULT_UNROLL
      for (u32 i = 0; i < kTables; ++i) table_[i] = tables[i * kWarpThreads + lane_index()];
    }
  }

  /// The levels of eight codes: of the first four, and of the others.
  KVAULT_DEVICE void decode(const u32* codes, u32& low, u32& high) const {
    if constexpr (kScheme == KVAULT_FORMAT_Q8) {
      low = codes[0];
      high = codes[1];
    } else if constexpr (kScheme == KVAULT_FORMAT_TQ4) {
      // A selector's top bit gives a level's sign, eight times: 0.
      const u32 other = codes[0] ^ 0x88888888U;
      low = permute_bytes(table_[0], table_[1], codes[0]) |
            permute_bytes(table_[2], table_[3], other);
      high = permute_bytes(table_[0], table_[1], codes[0] >> 16U) |
             permute_bytes(table_[2], table_[3], other >> 16U);
    } else {
      low = permute_bytes(table_[0], table_[kTables - 1], codes[0]);
      high = permute_bytes(table_[0], table_[kTables - 1], codes[0] >> 16U);
    }
  }

 private:
  static constexpr u32 kTables = kScheme == KVAULT_FORMAT_TQ4   ? 4
                                 : kScheme == KVAULT_FORMAT_TQ3 ? 2
                                                                : 1;
  u32 table_[kTables];
};

/// Steps of a key's row that a lane has in registers at once.
template <u32 kSteps>
inline constexpr u32 kKeyRun = kSteps > 8 && kSteps % 4 == 0 ? 4 : kSteps;

/// What a lane needs of a key's row for kKeyRun steps from step `first` on.
template <u32 kScheme, u32 kSteps>
KVAULT_DEVICE void load_key(const std::byte* row, u32 first,
                            u32 (&codes)[kKeyRun<kSteps> * Codes<kScheme>::kRegisters]) {
  const u32 t = lane_index() % 4;
  const auto* const words = reinterpret_cast<const u32*>(row);
  if constexpr (kSteps % 4 == 0 && !Codes<kScheme>::kIsNibbles) {
    load_words<2 * kKeyRun<kSteps>, 4>(words + 2 * key_word<kSteps>(t, first), codes);
  } else if constexpr (kSteps % 4 == 0) {
    load_groups<kScheme, kKeyRun<kSteps>>(words, key_word<kSteps>(t, first), codes);
  } else if constexpr (!Codes<kScheme>::kIsNibbles) {
    KVAULT_UNROLL
    for (u32 j = 0; j < kSteps; ++j) {
      const uint2 two = reinterpret_cast<const uint2*>(words)[key_word<kSteps>(t, j)];
      codes[2 * j] = two.x;
      codes[2 * j + 1] = two.y;
    }
  } else {
    KVAULT_UNROLL
    for (u32 j = 0; j < kSteps; ++j) codes[j] = load_word<kScheme>(words, key_word<kSteps>(t, j));
  }
}

/// What a lane needs of a quad's row for kValueRun tiles of dims from tile `first` on.
template <u32 kScheme, u32 kTiles>
KVAULT_DEVICE void load_value(const std::byte* row, u32 first,
                              u32 (&codes)[kValueRun<kTiles> * Codes<kScheme>::kRegisters]) {
  const auto* const words = reinterpret_cast<const u32*>(row);
  const u32 word = value_word<kTiles>(lane_index() / 4, first);
  if constexpr (!Codes<kScheme>::kIsNibbles) {
    load_words<2 * kValueRun<kTiles>, 4>(words + 2 * word, codes);
  } else if constexpr (kValueRun<kTiles> == 4) {
    load_groups<kScheme, 4>(words, word, codes);
  } else {
    codes[0] = load_word<kScheme>(words, word);
    codes[1] = load_word<kScheme>(words, word + 1);
  }
}

}  // namespace kvault::cuda
