// Products of coded keys with integer queries; for attend_keys.glsl. A query is q = step * (256 *
// high + low) of two signed bytes a dim, which prepare.comp makes, so that a product is four bytes
// times four bytes, twice.
#extension GL_EXT_spirv_intrinsics : require

// OpSDotKHR of packed four bytes; the last operand says so.
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019],
                  id = 4450) int dot_packed(uint a, uint b, spirv_literal int format);
const int kPackedBytes = 0;

// The tables of all schemes, every entry at the four places it can have in a word.
const uint kPackedScheme = 64;  // entries of a scheme: 16 for each place
shared uint packed_levels[3 * kPackedScheme];
shared float q_step[kColumns];
shared int q_sum[kColumns];
int high_products[kColumns];
int low_products[kColumns];

void load_packed_levels() {
  const uint four[16] = uint[16](KVAULT_TQ4_TABLE);
  const uint three[8] = uint[8](KVAULT_TQ3_TABLE);
  const uint two[4] = uint[4](KVAULT_TQ2_TABLE);
  for (uint i = gl_LocalInvocationIndex; i < kPackedScheme; i += KVAULT_THREADS) {
    const uint shift = i / 16 * 8;
    packed_levels[i] = four[i % 16] << shift;
    packed_levels[kPackedScheme + i] = three[i % 8] << shift;
    packed_levels[2 * kPackedScheme + i] = two[i % 4] << shift;
  }
}

// Four levels of four nibbles.
uint pack_levels(uint scheme, uint nibbles) {
  const uint first = (scheme - KVAULT_FORMAT_TQ4) * kPackedScheme;
  uint word = 0;
  [[unroll]] for (uint j = 0; j < 4; ++j) {
    word |= packed_levels[first + 16 * j + bitfieldExtract(nibbles, int(4 * j), 4)];
  }
  return word;
}

// Words of a tile's digits: [dim / 4][column][high, low], then [column][step, sum of the digits].
uint tile_words() { return (key_padded() / 2 + 2) * kColumns; }

void load_coded_queries(uint tile_index) {
  Words source = Words(push.q_digits);
  const uint first = tile_index * tile_words();
  const uint n_word = key_padded() / 2 * kColumns;
  for (uint i = gl_LocalInvocationIndex; i < n_word; i += KVAULT_THREADS) {
    q_tile[i] = source.at[first + i];
  }
  if (gl_LocalInvocationIndex < kColumns) {
    const uint at = first + n_word + 2 * gl_LocalInvocationIndex;
    q_step[gl_LocalInvocationIndex] = uintBitsToFloat(source.at[at]);
    q_sum[gl_LocalInvocationIndex] = int(source.at[at + 1]);
  }
}

void add_packed(uint levels, uint dim) {
  [[unroll]] for (uint c = 0; c < kColumns; ++c) {
    const uint at = (dim / 4 * kColumns + c) * 2;
    high_products[c] += dot_packed(levels, q_tile[at], kPackedBytes);
    low_products[c] += dot_packed(levels, q_tile[at + 1], kPackedBytes);
  }
}

void add_coded_key(uvec2 block, uint scheme, uint token) {
  [[unroll]] for (uint c = 0; c < kColumns; ++c) high_products[c] = low_products[c] = 0;
  const uvec2 row = address_add(block, token * key_row_bytes(scheme));
  const bool wide = scheme == KVAULT_FORMAT_Q8;
  for (uint group = 0; group < key_padded() / 32; ++group) {
    uvec4 nibbles = wide ? uvec4(0) : load_nibbles(row, scheme, group);
    for (uint dim = 32 * group; dim < 32 * group + 32; dim += 8) {
      if (wide) {
        add_packed(Words(row).at[dim / 4], dim);
        add_packed(Words(row).at[dim / 4 + 1], dim + 4);
      } else {
        add_packed(pack_levels(scheme, nibbles.x), dim);
        add_packed(pack_levels(scheme, nibbles.x >> 16), dim + 4);
        nibbles = nibbles.yzwx;
      }
    }
  }
  // A level of a table is T - 63.5, half of 2 T - 127: what overflows in 2 T comes back in the
  // difference, which 512 dims of 127 * 32512 do not make overflow.
  [[unroll]] for (uint c = 0; c < kColumns; ++c) {
    const int product = 256 * high_products[c] + low_products[c];
    const int twice = 2 * product - int(2 * KVAULT_TABLE_CENTRE) * q_sum[c];
    products[c] = wide ? float(product) * q_step[c] : float(twice) * (0.5 * q_step[c]);
  }
}

float rotated_query(uint tile_index, uint dim, uint column) {
  return Floats(push.q_rotated).at[(tile_index * key_padded() + dim) * kColumns + column];
}
