#pragma once

#include <bit>
#include <cstdint>

#include "core/layout/block_layout.hpp"

namespace kvault::vulkan {

/// Floats of a block that a workgroup has in shared memory at once; KVAULT_GROUP_FLOATS of
/// shaders/row_group.glsl.
inline constexpr std::uint32_t kRowGroupFloats = 2048;

/// Rows of a block that a workgroup works on: a power of two, so that groups are equal.
constexpr std::uint32_t rows_of_group(std::uint32_t head_dim) {
  return std::bit_floor(kRowGroupFloats / head_dim);
}

/// Workgroups of a block.
constexpr std::uint32_t groups_of_block(std::uint32_t head_dim) {
  return kPageTokens / rows_of_group(head_dim);
}

static_assert(rows_of_group(KVAULT_HEAD_DIM_MAX) >= KVAULT_QUAD_N_TOKEN);
static_assert(rows_of_group(32) <= kPageTokens);

}  // namespace kvault::vulkan
