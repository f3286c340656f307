// The weighted sums of values; for attend.glsl.

uint own_pair(uint k) {
  return gl_LocalInvocationIndex % min(n_pair(), KVAULT_THREADS) + k * KVAULT_THREADS;
}
uint own_group() { return gl_LocalInvocationIndex / min(n_pair(), KVAULT_THREADS); }

// Two dims of four tokens, as coded.
void load_quad(Words words, uint scheme, uint quad, uint pair, out vec4 low, out vec4 high) {
  const uint row = quad * (value_padded() * code_bits(scheme) / 8);
  if (scheme == KVAULT_FORMAT_Q8) {
    low = byte_levels(words.at[row + 2 * pair]);
    high = byte_levels(words.at[row + 2 * pair + 1]);
  } else {
    const uint nibbles = nibble_word(scheme, words, row, pair);
    low = nibble_levels(first_level(scheme), nibbles);
    high = nibble_levels(first_level(scheme), nibbles >> 16);
  }
}

// Likewise of raw rows. What is past the valid length may be anything: the last row stands for it,
// which counts nothing.
void load_raw_quad(Words words, uint format, uint quad, uint pair, uint n_valid, out vec4 low,
                   out vec4 high) {
  const bool wide = format == KVAULT_FORMAT_RAW_F32;
  const uint row_words = wide ? value_dim() : value_dim() / 2;
  [[unroll]] for (uint i = 0; i < 4; ++i) {
    const uint row = min(4 * quad + i, n_valid - 1) * row_words;
    vec2 dims;
    if (wide) {
      dims = uintBitsToFloat(uvec2(words.at[row + 2 * pair], words.at[row + 2 * pair + 1]));
    } else {
      dims = element_pair(words.at[row + pair], format);
    }
    low[i] = dims.x;
    high[i] = dims.y;
  }
}

// Adds this thread's part of the page's values to the pair's sums, in all columns.
void add_pair(uvec2 block, uint format, uint n_valid, uint k) {
  Words words = Words(block);
  const uint pair = own_pair(k);
  const uint n_quad = (n_valid + 3) / 4;
  for (uint quad = own_group(); quad < n_quad; quad += n_pair_group()) {
    vec4 low;
    vec4 high;
    if (is_raw(format)) {
      load_raw_quad(words, format, quad, pair, n_valid, low, high);
    } else {
      load_quad(words, format, quad, pair, low, high);
    }
    [[unroll]] for (uint c = 0; c < kColumns; ++c) {
      const uint at = c * kTokens + 4 * quad;
      const vec4 p = vec4(weights[at], weights[at + 1], weights[at + 2], weights[at + 3]);
      gathered[k][0][c] += dot(p, low);
      gathered[k][1][c] += dot(p, high);
    }
  }
}

void add_mean(uvec2 block, uint scheme, uint k) {
  const uint pair = own_pair(k);
  Words mean = Words(address_add(block, mean_offset_bytes(scheme, value_dim())));
  const vec2 entry = vec2(load_half(mean, 2 * pair), load_half(mean, 2 * pair + 1));
  [[unroll]] for (uint c = 0; c < kColumns; ++c) {
    gathered[k][0][c] += column_mass[c] * entry.x;
    gathered[k][1][c] += column_mass[c] * entry.y;
  }
}

void add_values(uint n_valid, bool keeps) {
  [[unroll]] for (uint k = 0; k < kOwnPairs; ++k) {
    [[unroll]] for (uint c = 0; c < kColumns; ++c) {
      gathered[k][0][c] *= column_rescale[c];
      gathered[k][1][c] *= column_rescale[c];
    }
    const bool raw = is_raw(page.value_format);
    const uint n_pair = raw ? value_dim() / 2 : n_pair();
    if (!keeps || own_group() >= n_pair_group() || own_pair(k) >= n_pair) continue;
    const uint format = raw ? page.value_format : scheme_of(page.value_format, kValueScheme);
    add_pair(page.value, format, n_valid, k);
    const bool centred = (page.value_format & KVAULT_FORMAT_CENTRED) != 0;
    if (!raw && centred && own_group() == 0) add_mean(page.value, format, k);
  }
}
