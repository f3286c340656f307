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
layout(constant_id = 0) const uint kKeyRoom = 128;    // dims there is room for, a multiple of 32
layout(constant_id = 1) const uint kValueRoom = 128;
layout(constant_id = 2) const uint kColumns = 4;      // 1, 2, 4, 8 or 16
layout(constant_id = 3) const uint kKeyScheme = 0;    // of all coded keys; 0: any
layout(constant_id = 4) const uint kValueScheme = 0;
layout(constant_id = 5) const uint kKeyDim = 0;       // 0: what the sequence says
layout(constant_id = 6) const uint kValueDim = 0;

const uint kTokens = KVAULT_PAGE_N_TOKEN;
// Threads of a column during the softmax, and their tokens.
const uint kColumnThreads = KVAULT_THREADS / kColumns;
const uint kOwnTokens = kTokens / kColumnThreads;
// Pairs of value dims of a thread.
const uint kOwnPairs = (kValueRoom / 2 + KVAULT_THREADS - 1) / KVAULT_THREADS;

const uint kRaw = 0;
const uint kCoded = 1;
const uint kNoKind = 2;

shared float q_tile[kKeyRoom * kColumns];     // [dim][column]
shared float weights[kColumns * kTokens];     // [column][token]: logits, then probabilities
shared float column_part[KVAULT_THREADS];     // [column][thread of the column]
shared float mean_part[KVAULT_THREADS];       // likewise, of the dot products with the page's mean
shared float column_rescale[kColumns];
shared float column_mass[kColumns];
shared uint keeps_values;

// What the workgroup is at.
Tile tile;
Sequence sequence;
PageEntry page;
uint q_kind;  // which queries are in q_tile

// The running softmax of this thread's column, all threads of a column alike.
float maximum;
float sum;
// Of this thread's token, all columns. Not a parameter: drivers take long over copies of arrays.
float products[kColumns];
// Of this thread's dims.
float gathered[kOwnPairs][2][kColumns];

uint key_dim() { return kKeyDim != 0 ? kKeyDim : sequence.key_dim; }
uint value_dim() { return kValueDim != 0 ? kValueDim : sequence.value_dim; }
uint key_padded() { return padded_head_dim(key_dim()); }
uint value_padded() { return padded_head_dim(value_dim()); }
// Pairs of value dims; groups of threads that share the quads of a pair.
uint n_pair() { return value_padded() / 2; }
uint n_pair_group() { return max(KVAULT_THREADS / n_pair(), 1); }

bool is_raw(uint format) { return format <= KVAULT_FORMAT_RAW_F32; }
uint scheme_of(uint format, uint specialised) {
  return specialised != 0 ? specialised : format & ~KVAULT_FORMAT_CENTRED;
}

// --- keys ----------------------------------------------------------------------------------------

void load_queries(uint tile_index, bool raw) {
  Floats source = Floats(raw ? push.q_raw : push.q_rotated);
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

void add_eight(vec4 low, vec4 high, uint dim) {
  [[unroll]] for (uint j = 0; j < 4; ++j) {
    [[unroll]] for (uint c = 0; c < kColumns; ++c) {
      products[c] += low[j] * q_tile[(dim + j) * kColumns + c];
      products[c] += high[j] * q_tile[(dim + 4 + j) * kColumns + c];
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

// This thread's share of its column's dot product with the block's mean.
float mean_product(uvec2 block, uint scheme) {
  const uint column = gl_LocalInvocationIndex / kColumnThreads;
  Words mean = Words(address_add(block, mean_offset_bytes(scheme, key_dim())));
  float product = 0;
  for (uint i = gl_LocalInvocationIndex % kColumnThreads; i < key_dim(); i += kColumnThreads) {
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
  const bool raw = is_raw(page.key_format);
  const uint format = raw ? page.key_format : scheme_of(page.key_format, kKeyScheme);
  // Rows past the valid length may be anything.
  if (token < n_valid) add_key(page.key, format, token);
  if (!raw) {
    Words scales = Words(address_add(page.key, scale_offset_bytes(format, key_dim())));
    factor = load_half(scales, token) * level_step(format, key_dim());
    if ((page.key_format & KVAULT_FORMAT_CENTRED) != 0) mean = mean_product(page.key, format);
  }
  mean_part[gl_LocalInvocationIndex] = mean;
  [[unroll]] for (uint c = 0; c < kColumns; ++c) {
    weights[c * kTokens + token] = products[c] * factor;
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

// Turns the products of this thread's tokens into logits, kNothing where invisible. Returns the
// greatest of them.
float finish_logits(uint page_position) {
  const uint column = own_column();
  float mean = 0;
  for (uint i = 0; i < kColumnThreads; ++i) mean += mean_part[column * kColumnThreads + i];
  const uint query = (tile.first_row + column) / (push.n_head / push.n_kv_head);
  float greatest = kNothing;
  for (uint k = 0; k < kOwnTokens; ++k) {
    const uint token = own_token(k);
    float logit = weights[column * kTokens + token] + mean;
    if (sequence.softcap > 0) logit = sequence.softcap * tanh(logit / sequence.softcap);
    if (column >= tile.n_row || !is_visible(query, page_position, token)) logit = kNothing;
    weights[column * kTokens + token] = logit;
    greatest = max(greatest, logit);
  }
  return greatest;
}

// Takes the page into the running softmax and leaves p * token_factor in `weights`, what earlier
// sums are multiplied by, and the page's mass.
void take_page(uint page_position) {
  const uint column = own_column();
  column_part[gl_LocalInvocationIndex] = finish_logits(page_position);
  barrier();
  float greatest = maximum;
  for (uint i = 0; i < kColumnThreads; ++i) {
    greatest = max(greatest, column_part[column * kColumnThreads + i]);
  }
  barrier();
  const bool coded = !is_raw(page.value_format);
  const uint scheme = scheme_of(page.value_format, kValueScheme);
  const float step = coded ? level_step(scheme, value_dim()) : 1.0;
  Words scales = Words(address_add(page.value, coded ? scale_offset_bytes(scheme, value_dim()) : 0));
  float mass = 0;
  for (uint k = 0; k < kOwnTokens; ++k) {
    const uint token = own_token(k);
    const float logit = weights[column * kTokens + token];
    const float p = logit > kNothing ? exp(logit - greatest) : 0.0;
    mass += p;
    // A scale past the valid length may be anything.
    float weight = p;
    if (coded && p > 0) weight = p * (load_half(scales, token) * step);
    weights[column * kTokens + token] = weight;
  }
  column_part[gl_LocalInvocationIndex] = mass;
  barrier();
  mass = sum_of_column(column);
  const float rescale = maximum > kNothing ? exp(maximum - greatest) : 0.0;
  maximum = greatest;
  sum = sum * rescale + mass;
  column_rescale[column] = rescale;
  column_mass[column] = mass;
}

// Whether a row of this thread's column needs the page's values; the page's mass is known, what it
// is a part of is at least this run's sum and at least the floor.
bool needs_values(uint tile_index) {
  if (sequence.is_sparse == 0) return true;
  const uint column = own_column();
  const float mass = column_mass[column];
  if (mass <= sequence.sparse_share * sum) return false;
  const uint at = (tile_index * kColumns + column) * 2;
  const float floor_maximum = Floats(push.floors).at[at];
  const float floor_sum = Floats(push.floors).at[at + 1];
  // The same mass relative to the floor's maximum; what overflows is kept.
  const float relative = min(maximum - floor_maximum, 80.0);
  return !(mass * exp(relative) <= sequence.sparse_share * floor_sum);
}

// --- values --------------------------------------------------------------------------------------

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

// --- runs of pages -------------------------------------------------------------------------------

void clear_values() {
  [[unroll]] for (uint k = 0; k < kOwnPairs; ++k) {
    [[unroll]] for (uint c = 0; c < kColumns; ++c) gathered[k][0][c] = gathered[k][1][c] = 0;
  }
}

// Where the sums of a kind of this slot stand.
uint partial_of(uint slot, uint kind) {
  return (slot * 2 + kind) * slot_floats(kColumns, value_padded());
}

// The first column's sums of a pair, of all groups of threads, in order; the first group has them.
vec2 sum_of_groups(uint k) {
  vec2 total = vec2(gathered[k][0][0], gathered[k][1][0]);
  if (n_pair_group() == 1) return total;
  column_part[gl_LocalInvocationIndex] = total.x;
  mean_part[gl_LocalInvocationIndex] = total.y;
  barrier();
  for (uint i = gl_LocalInvocationIndex + n_pair(); i < n_pair_group() * n_pair(); i += n_pair()) {
    total += vec2(column_part[i], mean_part[i]);
  }
  barrier();
  return total;
}

// One column after the other, always in the first place: no column is chosen at run time, and the
// code for a column stands there once.
void store_values(uint slot, uint kind) {
  Floats target = Floats(push.partials);
  const uint first = partial_of(slot, kind) + 2 * kColumns;
  [[unroll]] for (uint k = 0; k < kOwnPairs; ++k) {
    [[dont_unroll]] for (uint column = 0; column < kColumns; ++column) {
      const vec2 total = sum_of_groups(k);
      if (own_group() == 0 && own_pair(k) < n_pair()) {
        target.at[first + column * value_padded() + 2 * own_pair(k)] = total.x;
        target.at[first + column * value_padded() + 2 * own_pair(k) + 1] = total.y;
      }
      [[unroll]] for (uint c = 0; c + 1 < kColumns; ++c) {
        gathered[k][0][c] = gathered[k][0][c + 1];
        gathered[k][1][c] = gathered[k][1][c + 1];
      }
    }
  }
}

void store_state(uint slot, uint kind) {
  if (gl_LocalInvocationIndex % kColumnThreads != 0) return;
  const uint at = partial_of(slot, kind) + 2 * own_column();
  Floats(push.partials).at[at] = maximum;
  Floats(push.partials).at[at + 1] = sum;
}

// The floor of a tile: the softmax of its first page and the newest two.
void store_floor(uint tile_index) {
  if (gl_LocalInvocationIndex % kColumnThreads != 0) return;
  const uint at = (tile_index * kColumns + own_column()) * 2;
  Floats(push.floors).at[at] = maximum;
  Floats(push.floors).at[at + 1] = sum;
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

// Takes a page into the sums.
void attend_page(uint tile_index, uint page_position, bool finds_floors) {
  const uint n_valid = min(kTokens, sequence.n_token - page_position);
  const uint page_q_kind = is_raw(page.key_format) ? kRaw : kCoded;
  if (page_q_kind != q_kind) {
    barrier();
    load_queries(tile_index, page_q_kind == kRaw);
    q_kind = page_q_kind;
    barrier();
  }
  compute_products(n_valid);
  if (gl_LocalInvocationIndex == 0) keeps_values = 0;
  barrier();
  take_page(page_position);
  barrier();
  if (!finds_floors) {
    if (own_column() < tile.n_row && needs_values(tile_index)) keeps_values = 1;
    barrier();
    add_values(n_valid, keeps_values != 0);
  }
  barrier();
}

void main() {
  const Item item = Items(push.items).at[gl_WorkGroupID.x];
  tile = Tiles(push.tiles).at[item.tile];
  sequence = Sequences(push.sequences).at[tile.sequence];
  const bool finds_floors = item.finds_floors != 0;
  load_levels();
  q_kind = kNoKind;
  // Raw values first, then coded ones: their sums are rotated back apart. Floors have one pass.
  for (uint kind = 0; kind < (finds_floors ? 1 : 2); ++kind) {
    maximum = kNothing;
    sum = 0;
    clear_values();
    for (uint page_index = item.page_begin; page_index < item.page_end; ++page_index) {
      if (finds_floors && page_index != 0 && page_index + 2 < item.page_end) continue;
      const uint page_position = (sequence.first_page + page_index) * kTokens;
      if (!sees_page(page_position)) continue;
      page = PageEntries(sequence.pages).at[page_index * push.n_kv_head + tile.kv_head];
      if (!finds_floors && kind != (is_raw(page.value_format) ? kRaw : kCoded)) continue;
      attend_page(item.tile, page_position, finds_floors);
    }
    if (finds_floors) {
      store_floor(item.tile);
    } else {
      store_values(item.slot, kind);
      store_state(item.slot, kind);
    }
  }
}
