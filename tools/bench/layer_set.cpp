#include "tools/bench/layer_set.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string>

#include "core/layout/block_layout.hpp"
#include "tools/bench/limits.hpp"
#include "tools/bench/random_block.hpp"

namespace kvault::tools {

std::uint64_t memory_page_size_bytes(bool asks) {
  const std::string folder = "/sys/kernel/mm/transparent_hugepage/";
  std::string mode;
  std::getline(std::ifstream(folder + "enabled"), mode);
  std::uint64_t size_bytes = 0;
  const bool is_large = mode.find("[always]") != std::string::npos ||
                        (asks && mode.find("[madvise]") != std::string::npos);
  if (!is_large) return 4096;
  std::ifstream(folder + "hpage_pmd_size") >> size_bytes;
  return size_bytes > 0 ? size_bytes : 4096;
}

SegmentMemory::SegmentMemory(std::uint64_t size_bytes)
    : start_(allocate_large(std::max(size_bytes, kLargeMemoryMin))), size_bytes_(size_bytes) {}

LayerSet::Layout LayerSet::lay_out(const Preset& preset, const BenchShape& shape) {
  Layout layout;
  for (std::uint64_t token = 0; token < shape.n_token; token += kPageTokens) {
    const std::size_t first = layout.pages.size();
    layout.pages.resize(first + shape.n_kv_head);
    for (const Side side : {Side::key, Side::value}) {
      for (std::uint32_t head = 0; head < shape.n_kv_head; ++head) {
        PageRef& page = layout.pages[first + head];
        BlockRef& ref = side == Side::key ? page.key : page.value;
        ref = {layout.size_bytes, 0, format_of(preset, side)};
        layout.size_bytes += BlockLayout::of(ref.format, shape.head_dim).size_bytes;
      }
    }
    layout.size_bytes = align_up(layout.size_bytes, kSegmentAlignmentBytes);
  }
  return layout;
}

LayerSet::LayerSet(const Preset& preset, const BenchShape& shape, std::uint64_t set_size_bytes,
                   Attention attention)
    : preset_(preset),
      layout_(lay_out(preset, shape)),
      n_layer_(static_cast<std::uint32_t>(
          align_up(std::max<std::uint64_t>(1, set_size_bytes), layout_.size_bytes) /
          layout_.size_bytes)),
      memory_(layout_.size_bytes * n_layer_) {
  RandomBlocks random(shape.head_dim);
  for (std::uint32_t index = 0; index < n_layer_; ++index) {
    const std::span<std::byte> layer =
        memory_.bytes().subspan(index * layout_.size_bytes, layout_.size_bytes);
    std::fill(layer.begin(), layer.end(), std::byte{0});
    for (const PageRef& page : layout_.pages) {
      random.fill(page.key.format, layer.data() + page.key.offset_bytes);
      random.fill(page.value.format, layer.data() + page.value.offset_bytes);
    }
    if (attention == Attention::first_page) sharpen_first_page(shape, layer);
  }
}

/// Keys of the first page so long that a softmax sees nothing else. pre: keys are coded
void LayerSet::sharpen_first_page(const BenchShape& shape, std::span<std::byte> layer) const {
  const Half scale = to_half(4096.0F);
  for (std::uint32_t head = 0; head < shape.n_kv_head; ++head) {
    const BlockRef& key = layout_.pages[head].key;
    const BlockLayout block = BlockLayout::of(key.format, shape.head_dim);
    for (std::uint32_t token = 0; token < kPageTokens; ++token) {
      std::memcpy(layer.data() + key.offset_bytes + block.scale_offset_bytes +
                      std::size_t{token} * sizeof scale,
                  &scale, sizeof scale);
    }
  }
}

Result<std::vector<std::unique_ptr<Buffer>>> hand_over(const LayerSet& set, Device& device) {
  std::vector<std::unique_ptr<Buffer>> buffers;
  for (std::uint32_t index = 0; index < set.n_layer(); ++index) {
    const std::span<const std::byte> layer = set.layer(index);
    if (device.caps().adopts_host_memory) {
      KVAULT_TRY(std::unique_ptr<Buffer> buffer, device.allocate({.host_memory = layer}));
      buffers.push_back(std::move(buffer));
      continue;
    }
    KVAULT_TRY(std::unique_ptr<Buffer> buffer, device.allocate({.size_bytes = layer.size()}));
    KVAULT_TRY(const Ticket ticket, device.upload(*buffer, 0, layer));
    KVAULT_CHECK(device.wait(ticket));
    buffers.push_back(std::move(buffer));
  }
  return buffers;
}

}  // namespace kvault::tools
