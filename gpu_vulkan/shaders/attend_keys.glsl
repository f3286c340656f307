// The products of a page's keys with the queries; for attend.glsl.

void load_floats(uvec2 queries, uint tile_index) {
  Words source = Words(queries);
  const uint first = tile_index * key_padded() * kColumns;
  for (uint i = gl_LocalInvocationIndex; i < key_padded() * kColumns; i += KVAULT_THREADS) {
    q_tile[i] = source.at[first + i];
  }
}

// Four nibble words, dims [32 * group, 32 * group + 32) of a packed row.
uvec4 load_nibbles(uvec2 row, uint scheme, uint group) {
  if (scheme == KVAULT_FORMAT_TQ4) return WordQuads(row).at[group];
  Words words = Words(row);
  if (scheme == KVAULT_FORMAT_TQ2) {
    const uint low = words.at[2 * group];
    const uint high = words.at[2 * group + 1];
    return uvec4(low, low >> 2, high, high >> 2) & 0x33333333u;
  }
  const uint p0 = words.at[3 * group];
  const uint p1 = words.at[3 * group + 1];
  const uint p2 = words.at[3 * group + 2];
  return uvec4(uvec3(p0, p1, p2) & 0x77777777u, spread_word(p0, p1, p2));
}

// Eight dims of a key from dim `first` on, where they are no nibbles.
void load_wide(uvec2 row, uint format, uint first, out vec4 low, out vec4 high) {
  if (format == KVAULT_FORMAT_Q8) {
    Words words = Words(row);
    low = byte_levels(words.at[first / 4]);
    high = byte_levels(words.at[first / 4 + 1]);
  } else if (format == KVAULT_FORMAT_RAW_F32) {
    low = uintBitsToFloat(WordQuads(row).at[first / 4]);
    high = uintBitsToFloat(WordQuads(row).at[first / 4 + 1]);
  } else {
    const uvec4 words = WordQuads(row).at[first / 8];
    low = vec4(element_pair(words.x, format), element_pair(words.y, format));
    high = vec4(element_pair(words.z, format), element_pair(words.w, format));
  }
}

float query_at(uint dim, uint column) { return uintBitsToFloat(q_tile[dim * kColumns + column]); }

void add_eight(vec4 low, vec4 high, uint dim) {
  [[unroll]] for (uint j = 0; j < 4; ++j) {
    [[unroll]] for (uint c = 0; c < kColumns; ++c) {
      products[c] += low[j] * query_at(dim + j, c);
      products[c] += high[j] * query_at(dim + 4 + j, c);
    }
  }
}

uint key_row_bytes(uint format) {
  if (is_raw(format)) return key_dim() * (format == KVAULT_FORMAT_RAW_F32 ? 4 : 2);
  return key_padded() * code_bits(format) / 8;
}

// The products of all columns with a token's key, whatever it is stored as. One loop for all
// formats: what drivers compile grows with the columns, not with columns times formats.
void add_key(uvec2 block, uint format, uint token) {
  const uvec2 row = address_add(block, token * key_row_bytes(format));
  const bool wide = is_raw(format) || format == KVAULT_FORMAT_Q8;
  const uint n_dim = is_raw(format) ? key_dim() : key_padded();
  for (uint group = 0; group < key_padded() / 32; ++group) {
    uvec4 nibbles = wide ? uvec4(0) : load_nibbles(row, format, group);
    for (uint dim = 32 * group; dim < min(32 * group + 32, n_dim); dim += 8) {
      vec4 low;
      vec4 high;
      if (wide) {
        load_wide(row, format, dim, low, high);
      } else {
        low = nibble_levels(first_level(format), nibbles.x);
        high = nibble_levels(first_level(format), nibbles.x >> 16);
        nibbles = nibbles.yzwx;
      }
      add_eight(low, high, dim);
    }
  }
}

#ifdef KVAULT_DOT
#include "gpu_vulkan/shaders/attend_dot.glsl"
#else
void load_coded_queries(uint tile_index) { load_floats(push.q_rotated, tile_index); }
void add_coded_key(uvec2 block, uint scheme, uint token) { add_key(block, scheme, token); }
float rotated_query(uint tile_index, uint dim, uint column) { return query_at(dim, column); }
#endif

// This thread's share of its column's dot product with the block's mean.
float mean_product(uint tile_index, uvec2 block, uint scheme) {
  const uint column = gl_LocalInvocationIndex / kColumnThreads;
  Words mean = Words(address_add(block, mean_offset_bytes(scheme, key_dim())));
  float product = 0;
  for (uint i = gl_LocalInvocationIndex % kColumnThreads; i < key_dim(); i += kColumnThreads) {
    product += load_half(mean, i) * rotated_query(tile_index, i, column);
  }
  return product;
}

// Leaves the page's products of keys and queries in `weights` and `mean_part`.
void compute_products(uint tile_index, uint n_valid) {
  const uint token = gl_LocalInvocationIndex;
  [[unroll]] for (uint c = 0; c < kColumns; ++c) products[c] = 0;
  float factor = 1;
  float mean = 0;
  const bool raw = is_raw(page.key_format);
  const uint format = raw ? page.key_format : scheme_of(page.key_format, kKeyScheme);
  // Rows past the valid length may be anything.
  if (raw) {
    if (token < n_valid) add_key(page.key, format, token);
  } else {
    if (token < n_valid) add_coded_key(page.key, format, token);
    Words scales = Words(address_add(page.key, scale_offset_bytes(format, key_dim())));
    factor = load_half(scales, token) * level_step(format, key_dim());
    if ((page.key_format & KVAULT_FORMAT_CENTRED) != 0) {
      mean = mean_product(tile_index, page.key, format);
    }
  }
  mean_part[gl_LocalInvocationIndex] = mean;
  [[unroll]] for (uint c = 0; c < kColumns; ++c) {
    weights[c * kTokens + token] = products[c] * factor;
  }
}
