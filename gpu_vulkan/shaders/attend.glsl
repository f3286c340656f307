// Attention of a tile of query rows (columns here) over a run of pages. For each page a thread
// first takes a token, its logits in all columns; then a few tokens of one column, their softmax;
// then two dims, their weighted sum over the tokens. A code is unpacked once for all columns.
//
// No subgroup operation anywhere: the same shader on subgroups of any size. With KVAULT_DOT the
// queries of coded keys are integers, and their products dot products of four bytes.

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

shared uint q_tile[kKeyRoom * kColumns];      // [dim][column], bits of floats; or digits
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

#include "gpu_vulkan/shaders/attend_keys.glsl"
#include "gpu_vulkan/shaders/attend_softmax.glsl"
#include "gpu_vulkan/shaders/attend_values.glsl"

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
    if (page_q_kind == kRaw) {
      load_floats(push.q_raw, tile_index);
    } else {
      load_coded_queries(tile_index);
    }
    q_kind = page_q_kind;
    barrier();
  }
  compute_products(tile_index, n_valid);
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
#ifdef KVAULT_DOT
  load_packed_levels();
#endif
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
