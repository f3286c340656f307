// The tables of an attend as host and shaders see them; gpu_vulkan/attend_tables.hpp is the same in
// C++.

struct PageEntry {
  uvec2 key;
  uvec2 value;
  uint key_format;
  uint value_format;
};
layout(buffer_reference, std430, buffer_reference_align = 8) buffer PageEntries { PageEntry at[]; };

struct Sequence {
  uvec2 pages;       // PageEntry [n_page][n_kv_head]
  uvec2 mask;        // bytes [n_q][mask_stride]; 0: none
  uvec2 equaliser;   // halves [n_kv_head][key head_dim]; 0: all ones
  uint mask_stride;
  uint n_token;
  uint first_page;
  int first_q_position;
  uint is_causal;
  uint window;
  uint first_query;  // its first query among those of the call
  uint is_sparse;
  float sparse_share;  // of the mass, which a page left out may hold at most
  float softcap;
  uint key_dim;
  uint value_dim;
};
layout(buffer_reference, std430, buffer_reference_align = 8) buffer Sequences { Sequence at[]; };

// Up to kColumns rows of a kv head. Row r is query r / group and head r % group of the group.
struct Tile {
  uint sequence;
  uint kv_head;
  uint first_row;
  uint n_row;
  uint first_slot;  // where its splits leave their sums
  uint n_slot;
};
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Tiles { Tile at[]; };

struct Item {
  uint tile;
  uint page_begin;
  uint page_end;
  uint slot;
  uint finds_floors;  // instead of attending
};
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Items { Item at[]; };

// Nothing here is ever a condition: lavapipe compiles a shader anew for every value of such a one.
layout(push_constant) uniform Push {
  uvec2 sequences;
  uvec2 tiles;
  uvec2 items;
  uvec2 q;          // floats [n_query][n_head][key head_dim]
  uvec2 q_raw;      // floats [n_tile][padded key head_dim][kColumns], times the softmax scale
  uvec2 q_rotated;  // likewise, equalised and rotated
  uvec2 q_digits;   // the latter as integers, where products are made of those; attend_dot.glsl
  uvec2 floors;     // floats [n_tile][kColumns][2]: a lower bound of the softmax sums
  uvec2 partials;   // floats [n_slot][raw, coded][slot_floats]
  uvec2 out_rows;   // floats [n_query][n_head][value head_dim]
  uvec2 lse;        // floats [n_query][n_head]
  uvec2 rotation;   // Runtime::rotation of the head_dim that is rotated
  uint n_head;
  uint n_kv_head;
  float softmax_scale;
} push;

// No logit is as low: stands for minus infinity, with which no arithmetic is safe on every driver.
const float kNothing = -3.0e38;

// A partial softmax of a tile over some pages: maximum and sum of every column, then what the
// columns gathered of the values.
uint slot_floats(uint n_column, uint value_dim) { return n_column * (2 + value_dim); }
