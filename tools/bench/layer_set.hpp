#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/device/device.hpp"
#include "core/layout/scheme.hpp"
#include "core/os/large_memory.hpp"
#include "tools/bench/shape.hpp"

namespace kvault::tools {

/// Segments start at pages of memory.
inline constexpr std::uint64_t kSegmentAlignmentBytes = 4096;

/// Bytes of a page of large memory of this system: `asks` for large pages, as LayerSets do.
std::uint64_t memory_page_size_bytes(bool asks);

/// Memory that starts at a segment's alignment, in large pages as those of the cpu device.
/// Move-only.
class SegmentMemory {
 public:
  explicit SegmentMemory(std::uint64_t size_bytes);
  std::span<std::byte> bytes() { return {start_.get(), size_bytes_}; }
  std::span<const std::byte> bytes() const { return {start_.get(), size_bytes_}; }

 private:
  LargeMemory start_;
  std::size_t size_bytes_;
};

/// Where a query's probability lies: all over the context, or all of it on the first page.
enum class Attention : std::uint8_t { spread, first_page };

/// As many equal layers of one preset as fill `set_size_bytes`, so that a pass over all of them
/// comes from memory. Random codes under sane scales and means; laid out as a cache does it: a
/// segment per page, in it K and V of every kv head. Owns the memory; read-only once made.
class LayerSet {
 public:
  LayerSet(const Preset& preset, const BenchShape& shape, std::uint64_t set_size_bytes,
           Attention attention = Attention::spread);

  const Preset& preset() const { return preset_; }
  std::uint32_t n_layer() const { return n_layer_; }
  std::uint64_t size_bytes() const { return memory_.bytes().size(); }
  std::span<const std::byte> bytes() const { return memory_.bytes(); }
  std::span<const std::byte> layer(std::uint32_t index) const {
    return bytes().subspan(index * layout_.size_bytes, layout_.size_bytes);
  }
  /// [n_page, n_kv_head], the same in every layer, into buffer 0.
  std::span<const PageRef> pages() const { return layout_.pages; }

 private:
  struct Layout {
    std::vector<PageRef> pages;
    std::uint64_t size_bytes = 0;
  };
  static Layout lay_out(const Preset& preset, const BenchShape& shape);
  void sharpen_first_page(const BenchShape& shape, std::span<std::byte> layer) const;

  Preset preset_;
  Layout layout_;  ///< of one layer
  std::uint32_t n_layer_;
  SegmentMemory memory_;
};

/// The layers as buffers of a device: adopted where it can, else uploaded copies.
Result<std::vector<std::unique_ptr<Buffer>>> hand_over(const LayerSet& set, Device& device);

}  // namespace kvault::tools
