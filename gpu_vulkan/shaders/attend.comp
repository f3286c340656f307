#version 460
#extension GL_GOOGLE_include_directive : require

// Attention of a tile of query rows (columns here) over a run of pages. For each page a thread
// first takes a token, its logits in all columns; then a few tokens of one column, their softmax;
// then two dims, their weighted sum over the tokens. A code is unpacked once for all columns.
//
// No subgroup operation anywhere: the same shader on subgroups of any size.

#define KVAULT_THREADS 128

#include "gpu_vulkan/shaders/common.glsl"
#include "gpu_vulkan/shaders/attend_abi.glsl"
#include "gpu_vulkan/shaders/codes.glsl"

layout(local_size_x = KVAULT_THREADS) in;
layout(constant_id = 0) const uint kKeyDim = 128;
layout(constant_id = 1) const uint kValueDim = 128;
layout(constant_id = 2) const uint kColumns = 4;  // 1, 2, 4, 8 or 16
layout(constant_id = 3) const uint kKeyScheme = 0;  // of all coded keys; 0: any
layout(constant_id = 4) const uint kValueScheme = 0;

const uint kTokens = KVAULT_PAGE_N_TOKEN;
const uint kQuads = kTokens / KVAULT_QUAD_N_TOKEN;
const uint kAlign = KVAULT_HEAD_DIM_ALIGNMENT;
const uint kKeyPadded = (kKeyDim + kAlign - 1) / kAlign * kAlign;
const uint kValuePadded = (kValueDim + kAlign - 1) / kAlign * kAlign;
// Threads of a column during the softmax, and their tokens.
const uint kColumnThreads = KVAULT_THREADS / kColumns;
const uint kOwnTokens = kTokens / kColumnThreads;
// Pairs of dims; groups of threads that share the quads of a pair; pairs of a thread.
const uint kPairs = kValuePadded / 2;
const uint kPairGroups = kPairs < KVAULT_THREADS ? KVAULT_THREADS / kPairs : 1;
const uint kOwnPairs = kPairs < KVAULT_THREADS ? 1 : (kPairs + KVAULT_THREADS - 1) / KVAULT_THREADS;

const uint kRaw = 0;
const uint kCoded = 1;

shared float q_tile[kKeyPadded * kColumns];   // [dim][column]
shared vec4 weights[kColumns * kQuads];       // [column][quad]: logits, then probabilities
shared float column_part[KVAULT_THREADS];     // [column][thread of the column]
shared float mean_part[KVAULT_THREADS];       // likewise, of the dot products with the page's mean
shared float column_rescale[kColumns];
shared float column_mass[kColumns];
shared uint keeps_values;

// What the workgroup is at.
Tile tile;
Sequence sequence;
PageEntry page;

// Of this thread's column and kind of value, all threads of a column alike.
float maximum[2];
float sum[2];
// Of this thread's token, all columns; and of its tokens of one column. Not parameters: drivers
// take long over copies of arrays.
float products[kColumns];
float logits[kOwnTokens];
// Of this thread's dims.
float gathered[kOwnPairs][2][kColumns];

uint scheme_of(uint format, uint specialised) {
  return specialised != 0 ? specialised : format & ~KVAULT_FORMAT_CENTRED;
}
bool is_raw(uint format) { return format <= KVAULT_FORMAT_RAW_F32; }

// --- keys ----------------------------------------------------------------------------------------

void load_queries(uint tile_index, bool raw) {
  Floats source = Floats(raw ? push.q_raw : push.q_rotated);
  const uint first = tile_index * kKeyPadded * kColumns;
  for (uint i = gl_LocalInvocationIndex; i < kKeyPadded * kColumns; i += KVAULT_THREADS) {
    q_tile[i] = source.at[first + i];
  }
}

void add_product(float key, uint dim) {
  [[unroll]] for (uint c = 0; c < kColumns; ++c) products[c] += key * q_tile[dim * kColumns + c];
}

void add_nibbles(uint first, uint nibbles, uint dim) {
  [[unroll]] for (uint j = 0; j < 8; ++j) add_product(level(first, nibbles, j), dim + j);
}

void add_raw_key(uvec2 block, uint format, uint token) {
  const uint n_word = format == KVAULT_FORMAT_RAW_F32 ? kKeyDim : kKeyDim / 2;
  Words row = Words(address_add(block, token * n_word * 4));
  for (uint i = 0; i < n_word; ++i) {
    const uint word = row.at[i];
    if (format == KVAULT_FORMAT_RAW_F32) {
      add_product(uintBitsToFloat(word), i);
    } else if (format == KVAULT_FORMAT_RAW_BF16) {
      add_product(uintBitsToFloat(word << 16), 2 * i);
      add_product(uintBitsToFloat(word & 0xFFFF0000u), 2 * i + 1);
    } else {
      const vec2 pair = unpackHalf2x16(word);
      add_product(pair.x, 2 * i);
      add_product(pair.y, 2 * i + 1);
    }
  }
}

void add_coded_key(uvec2 block, uint scheme, uint token) {
  const uint row_bytes = kKeyPadded * code_bits(scheme) / 8;
  const uvec2 row = address_add(block, token * row_bytes);
  if (scheme == KVAULT_FORMAT_TQ4) {
    for (uint i = 0; i < kKeyPadded / 32; ++i) {
      const uvec4 words = WordQuads(row).at[i];
      [[unroll]] for (uint j = 0; j < 4; ++j) {
        add_nibbles(kLevels4, words[j], 32 * i + 8 * j);
      }
    }
  } else if (scheme == KVAULT_FORMAT_TQ3) {
    for (uint i = 0; i < kKeyPadded / 32; ++i) {
      const uint p0 = Words(row).at[3 * i];
      const uint p1 = Words(row).at[3 * i + 1];
      const uint p2 = Words(row).at[3 * i + 2];
      add_nibbles(kLevels3, p0 & 0x77777777u, 32 * i);
      add_nibbles(kLevels3, p1 & 0x77777777u, 32 * i + 8);
      add_nibbles(kLevels3, p2 & 0x77777777u, 32 * i + 16);
      add_nibbles(kLevels3, spread_word(p0, p1, p2), 32 * i + 24);
    }
  } else if (scheme == KVAULT_FORMAT_TQ2) {
    for (uint i = 0; i < kKeyPadded / 16; ++i) {
      const uint word = Words(row).at[i];
      add_nibbles(kLevels2, word & 0x33333333u, 16 * i);
      add_nibbles(kLevels2, (word >> 2) & 0x33333333u, 16 * i + 8);
    }
  } else {
    for (uint i = 0; i < kKeyPadded / 16; ++i) {
      const uvec4 words = WordQuads(row).at[i];
      [[unroll]] for (uint j = 0; j < 16; ++j) {
        add_product(byte_level(words[j / 4], j % 4), 16 * i + j);
      }
    }
  }
}

// This thread's share of its column's dot product with the block's mean.
float mean_product(uvec2 block, uint scheme) {
  const uint column = gl_LocalInvocationIndex / kColumnThreads;
  Words mean = Words(address_add(block, mean_offset_bytes(scheme, kKeyDim)));
  float product = 0;
  for (uint i = gl_LocalInvocationIndex % kColumnThreads; i < kKeyDim; i += kColumnThreads) {
    product += load_half(mean, i) * q_tile[i * kColumns + column];
  }
  return product;
}

// Leaves the page's products of keys and queries in `weights` and `mean_part`.
void compute_products(uint n_valid) {
  const uint token = gl_LocalInvocationIndex;
  [[unroll]] for (uint c = 0; c < kColumns; ++c) products[c] = 0;
  float factor = 1;
  float mean = 0;
  if (is_raw(page.key_format)) {
    if (token < n_valid) add_raw_key(page.key, page.key_format, token);
  } else {
    const uint scheme = scheme_of(page.key_format, kKeyScheme);
    add_coded_key(page.key, scheme, token);
    Words scales = Words(address_add(page.key, scale_offset_bytes(scheme, kKeyDim)));
    factor = load_half(scales, token) * level_step(scheme, kKeyDim);
    if ((page.key_format & KVAULT_FORMAT_CENTRED) != 0) mean = mean_product(page.key, scheme);
  }
  mean_part[gl_LocalInvocationIndex] = mean;
  [[unroll]] for (uint c = 0; c < kColumns; ++c) {
    weights[c * kQuads + token / 4][token % 4] = products[c] * factor;
  }
}

// --- softmax -------------------------------------------------------------------------------------

uint own_column() { return gl_LocalInvocationIndex / kColumnThreads; }
uint own_token(uint k) { return gl_LocalInvocationIndex % kColumnThreads + k * kColumnThreads; }

bool is_visible(uint query, uint page_position, uint token) {
  const int key = int(page_position + token);
  const int behind = sequence.first_q_position + int(query) - key;
  if (uint(key) >= sequence.n_token) return false;
  if (sequence.is_causal != 0 && behind < 0) return false;
  if (sequence.window != 0 && behind >= int(sequence.window)) return false;
  if ((sequence.mask.x | sequence.mask.y) == 0) return true;
  const uint at = query * sequence.mask_stride + uint(key);
  return ((Words(sequence.mask).at[at / 4] >> (8 * (at % 4))) & 0xFFu) != 0;
}

float sum_of_column(uint column) {
  float total = 0;
  for (uint i = 0; i < kColumnThreads; ++i) total += column_part[column * kColumnThreads + i];
  return total;
}

// The logits of this thread's tokens; kNothing where invisible.
void finish_logits(uint page_position) {
  const uint column = own_column();
  float mean = 0;
  for (uint i = 0; i < kColumnThreads; ++i) mean += mean_part[column * kColumnThreads + i];
  const uint query = (tile.first_row + column) / (push.n_head / push.n_kv_head);
  [[unroll]] for (uint k = 0; k < kOwnTokens; ++k) {
    const uint token = own_token(k);
    float logit = weights[column * kQuads + token / 4][token % 4] + mean;
    if (sequence.softcap > 0) logit = sequence.softcap * tanh(logit / sequence.softcap);
    const bool counts = column < tile.n_row && is_visible(query, page_position, token);
    logits[k] = counts ? logit : kNothing;
  }
}

// Takes the page's logits into the running softmax of `kind` and leaves p * token_factor in
// `weights`, what earlier sums are multiplied by, and the page's mass.
void take_page(uint kind) {
  const uint column = own_column();
  float greatest = kNothing;
  [[unroll]] for (uint k = 0; k < kOwnTokens; ++k) greatest = max(greatest, logits[k]);
  column_part[gl_LocalInvocationIndex] = greatest;
  barrier();
  greatest = maximum[kind];
  for (uint i = 0; i < kColumnThreads; ++i) {
    greatest = max(greatest, column_part[column * kColumnThreads + i]);
  }
  barrier();
  const bool coded = !is_raw(page.value_format);
  const uint scheme = scheme_of(page.value_format, kValueScheme);
  const float step = coded ? level_step(scheme, kValueDim) : 1.0;
  Words scales = Words(address_add(page.value, coded ? scale_offset_bytes(scheme, kValueDim) : 0));
  float mass = 0;
  [[unroll]] for (uint k = 0; k < kOwnTokens; ++k) {
    const uint token = own_token(k);
    const float p = logits[k] > kNothing ? exp(logits[k] - greatest) : 0.0;
    mass += p;
    // A scale past the valid length may be anything.
    float weight = p;
    if (coded && p > 0) weight = p * (load_half(scales, token) * step);
    weights[column * kQuads + token / 4][token % 4] = weight;
  }
  column_part[gl_LocalInvocationIndex] = mass;
  barrier();
  mass = sum_of_column(column);
  const float rescale = maximum[kind] > kNothing ? exp(maximum[kind] - greatest) : 0.0;
  maximum[kind] = greatest;
  sum[kind] = sum[kind] * rescale + mass;
  column_rescale[column] = rescale;
  column_mass[column] = mass;
}

// Whether a row of this thread's column needs the page's values; the page's mass is known, what it
// is a part of is at least this run's sum and at least the floor.
bool needs_values(uint tile_index, uint kind) {
  if (sequence.is_sparse == 0) return true;
  const uint column = own_column();
  const float mass = column_mass[column];
  if (mass <= sequence.sparse_share * sum[kind]) return false;
  const uint at = (tile_index * kColumns + column) * 2;
  const float floor_maximum = Floats(push.floors).at[at];
  const float floor_sum = Floats(push.floors).at[at + 1];
  // The same mass relative to the floor's maximum; what overflows is kept.
  const float relative = min(maximum[kind] - floor_maximum, 80.0);
  return !(mass * exp(relative) <= sequence.sparse_share * floor_sum);
}

// --- values --------------------------------------------------------------------------------------

uint own_pair(uint k) {
  return gl_LocalInvocationIndex % min(kPairs, KVAULT_THREADS) + k * KVAULT_THREADS;
}
uint own_group() { return gl_LocalInvocationIndex / min(kPairs, KVAULT_THREADS); }

void add_quad(uint k, uint quad, vec4 first, vec4 second) {
  [[unroll]] for (uint c = 0; c < kColumns; ++c) {
    const vec4 p = weights[c * kQuads + quad];
    gathered[k][0][c] += dot(p, first);
    gathered[k][1][c] += dot(p, second);
  }
}

void add_coded_values(uvec2 block, uint scheme, uint k) {
  Words words = Words(block);
  const uint pair = own_pair(k);
  const uint first = first_level(scheme);
  const uint row_words = kValuePadded * code_bits(scheme) / 8;
  for (uint quad = own_group(); quad < kQuads; quad += kPairGroups) {
    vec4 low;
    vec4 high;
    if (scheme == KVAULT_FORMAT_Q8) {
      const uint a = words.at[quad * row_words + 2 * pair];
      const uint b = words.at[quad * row_words + 2 * pair + 1];
      low = vec4(byte_level(a, 0), byte_level(a, 1), byte_level(a, 2), byte_level(a, 3));
      high = vec4(byte_level(b, 0), byte_level(b, 1), byte_level(b, 2), byte_level(b, 3));
    } else {
      const uint n = nibble_word(scheme, words, quad * row_words, pair);
      low = vec4(level(first, n, 0), level(first, n, 1), level(first, n, 2), level(first, n, 3));
      high = vec4(level(first, n, 4), level(first, n, 5), level(first, n, 6), level(first, n, 7));
    }
    add_quad(k, quad, low, high);
  }
}

void add_raw_values(uvec2 block, uint format, uint n_valid, uint k) {
  const uint pair = own_pair(k);
  if (2 * pair >= kValueDim) return;
  Words words = Words(block);
  for (uint token = own_group(); token < n_valid; token += kPairGroups) {
    const uint at = token * kValueDim + 2 * pair;
    const float low = load_raw(words, format, at);
    const float high = load_raw(words, format, at + 1);
    [[unroll]] for (uint c = 0; c < kColumns; ++c) {
      const float p = weights[c * kQuads + token / 4][token % 4];
      gathered[k][0][c] += p * low;
      gathered[k][1][c] += p * high;
    }
  }
}

void add_mean(uvec2 block, uint scheme, uint k) {
  const uint pair = own_pair(k);
  Words mean = Words(address_add(block, mean_offset_bytes(scheme, kValueDim)));
  const vec2 entry = unpackHalf2x16(mean.at[pair]);
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
    if (!keeps || own_group() >= kPairGroups || own_pair(k) >= kPairs) continue;
    if (is_raw(page.value_format)) {
      add_raw_values(page.value, page.value_format, n_valid, k);
      continue;
    }
    const uint scheme = scheme_of(page.value_format, kValueScheme);
    add_coded_values(page.value, scheme, k);
    const bool centred = (page.value_format & KVAULT_FORMAT_CENTRED) != 0;
    if (centred && own_group() == 0) add_mean(page.value, scheme, k);
  }
}

// --- runs of pages -------------------------------------------------------------------------------

void clear_values() {
  [[unroll]] for (uint k = 0; k < kOwnPairs; ++k) {
    [[unroll]] for (uint c = 0; c < kColumns; ++c) gathered[k][0][c] = gathered[k][1][c] = 0;
  }
}

// Where the sums of a kind of this slot stand.
uint partial_of(uint slot, uint kind) {
  return (slot * 2 + kind) * slot_floats(kColumns, kValuePadded);
}

// The groups of threads add up their dims in order; the first writes them.
void store_values(uint slot, uint kind) {
  Floats target = Floats(push.partials);
  const uint first = partial_of(slot, kind) + 2 * kColumns;
  if (kPairGroups > 1) {
    for (uint g = 1; g < kPairGroups; ++g) {
      barrier();
      if (own_group() == g) {
        [[unroll]] for (uint c = 0; c < kColumns; ++c) {
          const uint at = c * kPairs + own_pair(0);
          weights[at / 2][2 * (at % 2)] = gathered[0][0][c];
          weights[at / 2][2 * (at % 2) + 1] = gathered[0][1][c];
        }
      }
      barrier();
      if (own_group() == 0) {
        [[unroll]] for (uint c = 0; c < kColumns; ++c) {
          const uint at = c * kPairs + own_pair(0);
          gathered[0][0][c] += weights[at / 2][2 * (at % 2)];
          gathered[0][1][c] += weights[at / 2][2 * (at % 2) + 1];
        }
      }
    }
    barrier();
  }
  if (own_group() != 0) return;
  [[unroll]] for (uint k = 0; k < kOwnPairs; ++k) {
    if (own_pair(k) >= kPairs) continue;
    [[unroll]] for (uint c = 0; c < kColumns; ++c) {
      target.at[first + c * kValuePadded + 2 * own_pair(k)] = gathered[k][0][c];
      target.at[first + c * kValuePadded + 2 * own_pair(k) + 1] = gathered[k][1][c];
    }
  }
}

// What store_values wrote, by the threads that wrote it.
void load_values(uint slot, uint kind) {
  clear_values();
  if (own_group() != 0) return;
  Floats source = Floats(push.partials);
  const uint first = partial_of(slot, kind) + 2 * kColumns;
  [[unroll]] for (uint k = 0; k < kOwnPairs; ++k) {
    if (own_pair(k) >= kPairs) continue;
    [[unroll]] for (uint c = 0; c < kColumns; ++c) {
      gathered[k][0][c] = source.at[first + c * kValuePadded + 2 * own_pair(k)];
      gathered[k][1][c] = source.at[first + c * kValuePadded + 2 * own_pair(k) + 1];
    }
  }
}

void store_states(uint slot) {
  if (gl_LocalInvocationIndex % kColumnThreads != 0) return;
  [[unroll]] for (uint kind = 0; kind < 2; ++kind) {
    const uint at = partial_of(slot, kind) + 2 * own_column();
    Floats(push.partials).at[at] = maximum[kind];
    Floats(push.partials).at[at + 1] = sum[kind];
  }
}

// The floor of a tile: the softmax of its first page and the newest two, of both kinds together.
void store_floor(uint tile_index) {
  if (gl_LocalInvocationIndex % kColumnThreads != 0) return;
  const uint at = (tile_index * kColumns + own_column()) * 2;
  Floats(push.floors).at[at] = maximum[kRaw];
  Floats(push.floors).at[at + 1] = sum[kRaw];
}

bool sees_page(uint page_position) {
  const uint group = push.n_head / push.n_kv_head;
  const int first = sequence.first_q_position + int(tile.first_row / group);
  const int last = sequence.first_q_position + int((tile.first_row + tile.n_row - 1) / group);
  if (page_position >= sequence.n_token) return false;
  if (sequence.is_causal != 0 && int(page_position) > last) return false;
  const int newest_key = int(page_position + kTokens) - 1;
  return sequence.window == 0 || first - newest_key < int(sequence.window);
}

void main() {
  const Item item = Items(push.items).at[gl_WorkGroupID.x];
  tile = Tiles(push.tiles).at[item.tile];
  sequence = Sequences(push.sequences).at[tile.sequence];
  const bool finds_floors = item.finds_floors != 0;
  load_levels();
  maximum[0] = maximum[1] = kNothing;
  sum[0] = sum[1] = 0;
  clear_values();
  uint q_kind = 2;      // none
  uint value_kind = 2;  // of what is in `gathered`
  bool is_stored[2] = bool[2](false, false);
  for (uint page_index = item.page_begin; page_index < item.page_end; ++page_index) {
    if (finds_floors && page_index != 0 && page_index + 2 < item.page_end) continue;
    const uint page_position = (sequence.first_page + page_index) * kTokens;
    if (!sees_page(page_position)) continue;
    page =
        PageEntries(sequence.pages).at[page_index * push.n_kv_head + tile.kv_head];
    const uint n_valid = min(kTokens, sequence.n_token - page_position);
    const uint page_q_kind = is_raw(page.key_format) ? kRaw : kCoded;
    if (page_q_kind != q_kind) {
      barrier();
      load_queries(item.tile, page_q_kind == kRaw);
      q_kind = page_q_kind;
      barrier();
    }
    const uint kind = is_raw(page.value_format) || finds_floors ? kRaw : kCoded;
    if (kind != value_kind && !finds_floors) {
      if (value_kind != 2) {
        store_values(item.slot, value_kind);
        is_stored[value_kind] = true;
        if (is_stored[kind]) {
          load_values(item.slot, kind);
        } else {
          clear_values();
        }
      }
      value_kind = kind;
    }
    compute_products(n_valid);
    if (gl_LocalInvocationIndex == 0) keeps_values = 0;
    barrier();
    finish_logits(page_position);
    take_page(kind);
    barrier();
    if (!finds_floors) {
      if (own_column() < tile.n_row && needs_values(item.tile, kind)) keeps_values = 1;
      barrier();
      add_values(n_valid, keeps_values != 0);
    }
    barrier();
  }
  if (finds_floors) {
    store_floor(item.tile);
    return;
  }
  if (value_kind != 2) store_values(item.slot, value_kind);
  store_states(item.slot);
}
