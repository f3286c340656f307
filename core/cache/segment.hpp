#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/device/device.hpp"
#include "core/layout/block_layout.hpp"
#include "core/layout/layer.hpp"

namespace kvault {

/// Formats of a segment's blocks: K of every kv head, then V. [2 * n_kv_head]
using SegmentFormats = std::vector<BlockFormat>;

/// Offset of block `index` (K heads, then V heads) from the start of a segment, and with index =
/// 2 * n_kv_head the segment's size.
std::uint64_t segment_offset_bytes(const LayerSpec& layer, std::span<const BlockFormat> formats,
                                   std::uint32_t index);

/// All blocks of one page and one layer, sealed: immutable, shared by forks. The buffer may hold
/// other things too (a mapped pack).
struct Segment {
  std::shared_ptr<const Buffer> buffer;
  std::uint64_t offset_bytes = 0;
  SegmentFormats formats;
  std::vector<std::uint64_t> block_offsets;  ///< [2 * n_kv_head], from the start of the buffer
  std::uint64_t size_bytes = 0;

  static Segment at(const LayerSpec& layer, std::shared_ptr<const Buffer> buffer,
                    std::uint64_t offset_bytes, SegmentFormats formats);
};

}  // namespace kvault
