// Codes of a block as numbers around their centre; docs/format.md, "pack" and "What a coded block
// means". Before using level() a shader calls load_levels() and a barrier.

// The tables of all schemes behind one another: a look-up never meets a bank conflict, as every
// entry has a bank of its own.
const uint kLevels4 = 0;
const uint kLevels3 = 16;
const uint kLevels2 = 24;
const uint kLevels = 28;
shared float levels[kLevels];

void load_levels() {
  const uint four[16] = uint[16](KVAULT_TQ4_TABLE);
  const uint three[8] = uint[8](KVAULT_TQ3_TABLE);
  const uint two[4] = uint[4](KVAULT_TQ2_TABLE);
  const uint i = gl_LocalInvocationIndex;
  if (i < kLevels3) {
    levels[i] = float(four[i]) - KVAULT_TABLE_CENTRE;
  } else if (i < kLevels2) {
    levels[i] = float(three[i - kLevels3]) - KVAULT_TABLE_CENTRE;
  } else if (i < kLevels) {
    levels[i] = float(two[i - kLevels2]) - KVAULT_TABLE_CENTRE;
  }
}

uint first_level(uint scheme) {
  return scheme == KVAULT_FORMAT_TQ4 ? kLevels4 : scheme == KVAULT_FORMAT_TQ3 ? kLevels3 : kLevels2;
}

// What a level of a scheme counts, beside the scale.
float level_step(uint scheme, uint head_dim) {
  if (scheme == KVAULT_FORMAT_Q8) return 1.0 / float(KVAULT_Q8_CODE_MAX);
  const float step = scheme == KVAULT_FORMAT_TQ4   ? KVAULT_TQ4_STEP
                     : scheme == KVAULT_FORMAT_TQ3 ? KVAULT_TQ3_STEP
                                                   : KVAULT_TQ2_STEP;
  return step / sqrt(float(head_dim));
}

// The j-th of a nibble word's eight codes.
float level(uint first, uint nibbles, uint j) {
  return levels[first + bitfieldExtract(nibbles, int(4 * j), 4)];
}
// The j-th of a word's four signed bytes.
float byte_level(uint word, uint j) { return float(bitfieldExtract(int(word), int(8 * j), 8)); }

vec4 nibble_levels(uint first, uint nibbles) {
  return vec4(level(first, nibbles, 0), level(first, nibbles, 1), level(first, nibbles, 2),
              level(first, nibbles, 3));
}
vec4 byte_levels(uint word) {
  return vec4(byte_level(word, 0), byte_level(word, 1), byte_level(word, 2), byte_level(word, 3));
}

// The fourth nibble word of a group of three words of three-bit codes.
uint spread_word(uint p0, uint p1, uint p2) {
  return ((p0 >> 3) & 0x11111111u) | ((p1 >> 2) & 0x22222222u) | ((p2 >> 1) & 0x44444444u);
}

// Nibble word `index` of a packed row that starts at word `first`.
uint nibble_word(uint scheme, Words words, uint first, uint index) {
  if (scheme == KVAULT_FORMAT_TQ4) return words.at[first + index];
  if (scheme == KVAULT_FORMAT_TQ2) {
    return (words.at[first + index / 2] >> (2 * (index & 1))) & 0x33333333u;
  }
  const uint group = first + index / 4 * 3;
  if ((index & 3) < 3) return words.at[group + (index & 3)] & 0x77777777u;
  return spread_word(words.at[group], words.at[group + 1], words.at[group + 2]);
}
