#include "gpu_vulkan/arena.hpp"

#include <algorithm>

#include "core/layout/block_layout.hpp"

namespace kvault::vulkan {
namespace {

constexpr std::uint64_t kChunkSizeBytes = std::uint64_t{4} << 20U;
constexpr std::uint64_t kAlignmentBytes = 64;

}  // namespace

Arena::~Arena() {
  for (const Chunk& chunk : chunks_) pool_.give_back(chunk.range);
}

Result<MemoryRange> Arena::take_from_chunks(std::uint64_t size_bytes) {
  for (Chunk& chunk : chunks_) {
    if (chunk.busy_until != stream_.open_value()) {
      if (!stream_.is_done(chunk.busy_until)) continue;
      chunk.used_bytes = 0;
    }
    if (chunk.range.size_bytes - chunk.used_bytes < size_bytes) continue;
    MemoryRange range = chunk.range;
    range.offset_bytes += chunk.used_bytes;
    range.address += chunk.used_bytes;
    if (range.host != nullptr) range.host += chunk.used_bytes;
    range.size_bytes = size_bytes;
    chunk.used_bytes += size_bytes;
    chunk.busy_until = stream_.open_value();
    return range;
  }
  return MemoryRange{};
}

Result<MemoryRange> Arena::take(std::uint64_t size_bytes) {
  const std::uint64_t size = align_up(std::max<std::uint64_t>(size_bytes, 1), kAlignmentBytes);
  KVAULT_TRY(const MemoryRange range, take_from_chunks(size));
  if (range.block != nullptr) return range;
  Chunk chunk;
  KVAULT_TRY(chunk.range, pool_.take(std::max(size, kChunkSizeBytes)));
  chunks_.push_back(chunk);
  return take_from_chunks(size);
}

}  // namespace kvault::vulkan
