#pragma once

#include <cstddef>
#include <cstdint>

#include "core/layout/scheme.hpp"

namespace kvault {

/// `size` rounded up to a multiple of `alignment`.
constexpr std::uint64_t align_up(std::uint64_t size, std::uint64_t alignment) {
  return (size + alignment - 1) / alignment * alignment;
}

/// D', the number of dimensions a coded block holds: head_dim rounded up to a multiple of 32.
constexpr std::uint32_t padded_head_dim(std::uint32_t head_dim) {
  return static_cast<std::uint32_t>(align_up(head_dim, KVAULT_HEAD_DIM_ALIGNMENT));
}

/// Whether a rotation exists: powers of two 32..512, and 48, 80, 96, 112, 160, 192.
constexpr bool is_supported_head_dim(std::uint32_t head_dim) {
  switch (head_dim) {
    case 32:
    case 48:
    case 64:
    case 80:
    case 96:
    case 112:
    case 128:
    case 160:
    case 192:
    case 256:
    case 512:
      return true;
    default:
      return false;
  }
}

/// Where the planes of one block lie, in bytes from its start; docs/format.md, "Blocks".
///
///   raw    rows   [128 token][head_dim]            element type of the format
///   coded  codes  K: [128 token] rows of D' codes  V: [32 quad] rows of [D' dim][4 token] codes
///          scale  f16 [128 token]
///          mean   f16 [D']                         only where the format is centred
///
/// Every plane is padded to 128 bytes; so is the block.
struct BlockLayout {
  std::uint64_t codes_size_bytes = 0;
  std::uint64_t scale_offset_bytes = 0;
  std::uint64_t mean_offset_bytes = 0;
  std::uint64_t size_bytes = 0;

  static constexpr BlockLayout of(BlockFormat format, std::uint32_t head_dim) {
    BlockLayout layout;
    if (format.is_raw()) {
      layout.codes_size_bytes =
          std::uint64_t{kPageTokens} * head_dim * size_bytes_of(format.row_type());
      layout.size_bytes = align_up(layout.codes_size_bytes, KVAULT_PLANE_ALIGNMENT_BYTES);
      return layout;
    }
    const std::uint64_t padded = padded_head_dim(head_dim);
    layout.codes_size_bytes = kPageTokens * padded * code_bits_of(format.scheme()) / 8;
    layout.scale_offset_bytes = align_up(layout.codes_size_bytes, KVAULT_PLANE_ALIGNMENT_BYTES);
    layout.mean_offset_bytes = layout.scale_offset_bytes + kPageTokens * 2;
    layout.size_bytes = layout.mean_offset_bytes;
    if (format.is_centred()) {
      layout.size_bytes += align_up(padded * 2, KVAULT_PLANE_ALIGNMENT_BYTES);
    }
    return layout;
  }
};

static_assert(BlockLayout::of(BlockFormat::coded(Scheme::tq4, false), 128).size_bytes == 8448);
static_assert(BlockLayout::of(BlockFormat::coded(Scheme::tq4, true), 128).size_bytes == 8704);
static_assert(BlockLayout::of(BlockFormat::coded(Scheme::tq3, true), 128).size_bytes == 6656);
static_assert(BlockLayout::of(BlockFormat::coded(Scheme::tq2, true), 128).size_bytes == 4608);
static_assert(BlockLayout::of(BlockFormat::coded(Scheme::q8, true), 128).size_bytes == 16896);
static_assert(BlockLayout::of(BlockFormat::raw(RowType::f16), 128).size_bytes == 32768);

}  // namespace kvault
