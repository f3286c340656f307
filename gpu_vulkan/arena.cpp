#include "gpu_vulkan/arena.hpp"

#include <algorithm>
#include <limits>

#include "core/layout/block_layout.hpp"

namespace kvault::vulkan {
namespace {

constexpr std::uint64_t kChunkSizeBytes = std::uint64_t{4} << 20U;
constexpr std::uint64_t kAlignmentBytes = 64;

}  // namespace

Arena::~Arena() {
  for (const Chunk& chunk : chunks_) pool_.give_back(chunk.range);
}

MemoryRange Arena::take_from_chunks(std::uint64_t size_bytes) {
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
  return {};
}

/// Chunks that were made for one large request and are too small for the next: a request that grows
/// from call to call would leave one behind each time.
void Arena::give_back_large() {
  std::erase_if(chunks_, [&](const Chunk& chunk) {
    if (chunk.range.size_bytes <= kChunkSizeBytes || !stream_.is_done(chunk.busy_until)) {
      return false;
    }
    pool_.give_back(chunk.range);
    return true;
  });
}

Result<MemoryRange> Arena::take(std::uint64_t size_bytes) {
  if (size_bytes > std::numeric_limits<std::uint64_t>::max() - kAlignmentBytes) {
    return fail(Errc::out_of_memory, message("vulkan: ", size_bytes, " bytes of memory"));
  }
  const std::uint64_t size = align_up(std::max<std::uint64_t>(size_bytes, 1), kAlignmentBytes);
  const MemoryRange range = take_from_chunks(size);
  if (range.block != nullptr) return range;
  give_back_large();
  Chunk chunk;
  KVAULT_TRY(chunk.range, pool_.take(std::max(size, kChunkSizeBytes)));
  chunks_.push_back(chunk);
  return take_from_chunks(size);
}

}  // namespace kvault::vulkan
