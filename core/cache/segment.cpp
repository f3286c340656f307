#include "core/cache/segment.hpp"

#include "core/base/assert.hpp"

namespace kvault {

std::uint64_t segment_offset_bytes(const LayerSpec& layer, std::span<const BlockFormat> formats,
                                   std::uint32_t index) {
  KVAULT_ASSERT(formats.size() == std::size_t{layer.n_kv_head} * 2 && index <= formats.size());
  std::uint64_t offset_bytes = 0;
  for (std::uint32_t i = 0; i < index; ++i) {
    const std::uint32_t dim = i < layer.n_kv_head ? layer.key_head_dim : layer.value_head_dim;
    offset_bytes += BlockLayout::of(formats[i], dim).size_bytes;
  }
  return offset_bytes;
}

Segment Segment::at(const LayerSpec& layer, std::shared_ptr<const Buffer> buffer,
                    std::uint64_t offset_bytes, SegmentFormats formats) {
  Segment segment;
  const auto n_block = static_cast<std::uint32_t>(formats.size());
  for (std::uint32_t i = 0; i < n_block; ++i) {
    segment.block_offsets.push_back(offset_bytes + segment_offset_bytes(layer, formats, i));
  }
  segment.size_bytes = segment_offset_bytes(layer, formats, n_block);
  segment.buffer = std::move(buffer);
  segment.offset_bytes = offset_bytes;
  segment.formats = std::move(formats);
  return segment;
}

}  // namespace kvault
