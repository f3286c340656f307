#pragma once

#include <cstddef>
#include <cstdint>

#include "core/layout/block_abi.inc"

// What the host hands to kernels: plain structs that both compilers read. Every kernel takes one of
// the ...Params by value; pointers are addresses of the device.

namespace kvault::cuda {

/// Threads of a block, of every kernel but where it says otherwise.
inline constexpr std::uint32_t kBlockThreads = 256;
inline constexpr std::uint32_t kAttendThreads = 128;
/// Query rows that share a pass over the keys; also where fewer do.
inline constexpr std::uint32_t kColumns = 8;
/// Up to so many take the narrow kernels of attend_tensor.cu.
inline constexpr std::uint32_t kNarrowColumns = 4;
/// Tiles of a sequence and kv head that a block of attend_prefill.cu takes at once: as many as the
/// registers hold sums of.
constexpr std::uint32_t prefill_tiles(std::uint32_t key_dim, std::uint32_t value_dim) {
  return key_dim > 128 || value_dim > 128 ? 4 : 8;
}
/// Lanes of a warp that have a row of encode.cu and reconstruct.cu among them: one for 16 dims of
/// the padded row, a power of two of them.
constexpr std::uint32_t lanes_of_row(std::uint32_t head_dim) {
  std::uint32_t n_lane = 2;
  while (n_lane * 16 < head_dim) n_lane *= 2;
  return n_lane;
}
/// The order of the rotation's Paley factor, or 1; core/codec/hadamard.hpp.
constexpr std::uint32_t paley_order_of(std::uint32_t head_dim) {
  while (head_dim % 2 == 0) head_dim /= 2;
  return head_dim == 1 ? 1 : 4 * head_dim;
}
/// Threads of a block there: lanes for every quad of a page, if that many fit. Products with a
/// Paley factor take more registers.
constexpr std::uint32_t row_threads(std::uint32_t head_dim) {
  const std::uint32_t n_wanted = KVAULT_PAGE_N_TOKEN / KVAULT_QUAD_N_TOKEN * lanes_of_row(head_dim);
  const std::uint32_t n_most = paley_order_of(head_dim) == 1 ? kBlockThreads : kBlockThreads / 2;
  return n_wanted < n_most ? n_wanted : n_most;
}
inline constexpr std::uint32_t kPaleyOrderMax = 28;

/// Entries of the Paley factor, [order, order], where instructions can name them: a kernel's
/// parameters.
struct PaleySigns {
  float at[kPaleyOrderMax * kPaleyOrderMax];
};

/// The rotation of a head_dim; core/codec/rotation.hpp.
struct RotationTable {
  const float* scaled_signs;  ///< [head_dim]
  const float* paley_signs;   ///< [paley_order, paley_order]
  std::uint32_t head_dim;
  std::uint32_t paley_order;
};

struct EncodeJob {
  const std::byte* source;
  std::byte* target;
  const std::uint16_t* equaliser;  ///< [head_dim] or null: all ones
  std::uint32_t source_format;
  std::uint32_t target_format;
  float step;                ///< of the target's scheme
  std::uint32_t size_bytes;  ///< of the target
};

/// A block of threads for each job.
struct EncodeParams {
  const EncodeJob* jobs;
  std::uint32_t* misfits;  ///< [n_job]: 1 where the block does not fit its format
  RotationTable rotation;
  PaleySigns paley_signs;
  std::uint32_t is_value;
  std::uint32_t scale_rule;
};

struct ReconstructJob {
  const std::byte* block;
  const std::uint16_t* equaliser;  ///< [head_dim] or null: all ones
  std::byte* rows;                 ///< [128, row_stride of the call]
  std::uint32_t format;
  float step;
};

/// A block of threads for each job.
struct ReconstructParams {
  const ReconstructJob* jobs;
  RotationTable rotation;
  PaleySigns paley_signs;
  std::uint32_t is_value;
  std::uint32_t row_type;
  std::uint32_t row_stride;  ///< in elements
};

/// Rows [n_token, n_head] of an engine's; a block of threads for each token.
struct GatherParams {
  const std::byte* source;
  std::byte* target;     ///< of the first row of head 0, a head's rows dense; null: only looks
  std::uint32_t* found;  ///< [n_token], where it only looks: the first of a token's elements
                         ///< [n_head, head_dim] that is not finite, or 0xFFFFFFFF
  std::uint64_t token_stride_bytes;
  std::uint64_t head_stride_bytes;
  std::uint64_t target_head_stride_bytes;
  std::uint32_t n_head;
  std::uint32_t row_bytes;
  std::uint32_t format;      ///< raw
  std::uint32_t word_bytes;  ///< 4 or 2: all addresses, strides and row_bytes are multiples
};

struct PageEntry {
  const std::byte* key;
  const std::byte* value;
  std::uint32_t key_format;
  std::uint32_t value_format;
};

struct SequenceEntry {
  const PageEntry* pages;          ///< [n_page, n_kv_head]
  const std::uint8_t* mask;        ///< [n_q, mask_stride] or null
  const std::uint16_t* equaliser;  ///< [n_kv_head, key head_dim] or null: all ones
  const float* q;                  ///< [n_q, n_head, key head_dim]
  float* out;                      ///< [n_q, n_head, value head_dim]
  float* lse;                      ///< [n_q, n_head] or null
  std::uint64_t mask_stride;
  std::uint32_t n_token;
  std::uint32_t first_page;
  std::int32_t first_q_position;
  std::uint32_t is_causal;
  std::uint32_t window;
  float sparse_share;  ///< of the mass that a token may hold and be left out; 0: none
};

/// Up to kColumns rows of a kv head: row r is query r / group, head r % group of the group. A slot
/// has room for the partial softmax of an item.
struct TileEntry {
  std::uint32_t sequence;
  std::uint32_t kv_head;
  std::uint32_t first_row;
  std::uint32_t n_row;
  std::uint32_t first_slot;
  std::uint32_t n_slot;
};

/// What a block of threads attends of its pages. All but the last leave a partial softmax.
enum ItemKind : std::uint32_t {
  kRawValues,     ///< pages of raw values
  kCodedValues,   ///< pages of coded values that kTensorValues does not take
  kTensorValues,  ///< pages of coded keys and values, by integer tensor cores
  kFloors,        ///< no slot: a lower bound of the sums; see AttendParams::floors
};

/// Pages of a tile, or of tiles behind one another that have as many slots, for one block of
/// threads. The slots of the others are as far behind their first ones as `slot` is behind its.
struct ItemEntry {
  std::uint32_t tile;
  std::uint32_t n_tile;
  std::uint32_t page_begin;
  std::uint32_t page_end;
  std::uint32_t slot;
  ItemKind kind;
};

/// Of all kernels of an attend. Logits are in units of log2.
struct AttendParams {
  const SequenceEntry* sequences;
  const TileEntry* tiles;
  const ItemEntry* items;           ///< of this launch, one for each block of threads
  const std::uint32_t* slot_kinds;  ///< [n_slot], an ItemKind each
  float* q_raw;                     ///< [n_tile, kColumns, padded key dim], times the softmax scale
  float* q_rotated;                 ///< likewise, equalised and rotated
  std::int8_t* q_digits;            ///< [n_tile, 2, kColumns, padded key dim]: 256 * high + low
  float* q_steps;                   ///< [n_tile, kColumns], what a unit of the digits counts
  std::int32_t* q_sums;             ///< [n_tile, kColumns], of 256 * high + low over the dims
  float* floors;    ///< [n_tile, kColumns, 2]: maximum and sum over some of the pages
  float* partials;  ///< [n_slot, slot_floats]
  RotationTable key_rotation;
  RotationTable value_rotation;
  std::uint32_t n_head;
  std::uint32_t n_kv_head;
  std::uint32_t key_dim;
  std::uint32_t value_dim;
  std::uint32_t uses_tensor_cores;  ///< whether there are items of kTensorValues
  float softmax_scale;
  float softcap;
  float key_unit;  ///< 1 / sqrt(key_dim)
  float value_unit;
};

/// Stands for a logit of minus infinity, with which no arithmetic is safe.
inline constexpr float kNothing = -3.0e38F;

/// Maximum and sum of every column, then what the columns gathered: [kColumns, padded value dim].
constexpr std::uint32_t slot_floats(std::uint32_t padded_value_dim) {
  return kColumns * (2 + padded_value_dim);
}

}  // namespace kvault::cuda
