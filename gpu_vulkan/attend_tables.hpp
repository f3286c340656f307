#pragma once

#include <cstdint>
#include <vector>

#include "gpu_vulkan/runtime.hpp"

// The tables of an attend as host and shaders see them; shaders/attend_abi.glsl is the same in
// GLSL.

namespace kvault::vulkan {

struct PageEntry {
  VkDeviceAddress key;
  VkDeviceAddress value;
  std::uint32_t key_format;
  std::uint32_t value_format;
};
static_assert(sizeof(PageEntry) == 24);

struct SequenceEntry {
  VkDeviceAddress pages;      ///< PageEntry [n_page, n_kv_head]
  VkDeviceAddress mask;       ///< bytes [n_q, mask_stride], or 0
  VkDeviceAddress equaliser;  ///< halves [n_kv_head, key head_dim], or 0
  std::uint32_t mask_stride;
  std::uint32_t n_token;
  std::uint32_t first_page;
  std::int32_t first_q_position;
  std::uint32_t is_causal;
  std::uint32_t window;
  std::uint32_t first_query;  ///< its first query among those of the call
  std::uint32_t is_sparse;
  float sparse_share;
  float softcap;
  std::uint32_t key_dim;
  std::uint32_t value_dim;
};
static_assert(sizeof(SequenceEntry) == 72);

/// Up to n_column rows of a kv head.
struct TileEntry {
  std::uint32_t sequence;
  std::uint32_t kv_head;
  std::uint32_t first_row;
  std::uint32_t n_row;
  std::uint32_t first_slot;
  std::uint32_t n_slot;
};

/// Pages of a tile, for one workgroup.
struct ItemEntry {
  std::uint32_t tile;
  std::uint32_t page_begin;
  std::uint32_t page_end;
  std::uint32_t slot;
  std::uint32_t finds_floors;  ///< instead of attending
};

struct AttendPush {
  VkDeviceAddress sequences;
  VkDeviceAddress tiles;
  VkDeviceAddress items;
  VkDeviceAddress q;
  VkDeviceAddress q_raw;
  VkDeviceAddress q_rotated;
  VkDeviceAddress q_digits;
  VkDeviceAddress floors;
  VkDeviceAddress partials;
  VkDeviceAddress out_rows;
  VkDeviceAddress lse;
  VkDeviceAddress rotation;
  std::uint32_t n_head;
  std::uint32_t n_kv_head;
  float softmax_scale;
  std::uint32_t unused;
};
static_assert(sizeof(AttendPush) == 112);

/// What a pipeline is specialised for; all its sequences are alike in it.
struct AttendShape {
  std::uint32_t key_room = 0;  ///< dims there is room for
  std::uint32_t value_room = 0;
  std::uint32_t n_column = 0;  ///< 1, 2, 4, 8 or 16
  Scheme key = Scheme::raw;    ///< of all coded keys; raw: any
  Scheme value = Scheme::raw;
  friend auto operator<=>(const AttendShape&, const AttendShape&) = default;
};

}  // namespace kvault::vulkan
