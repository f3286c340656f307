#include "gpu_vulkan/engine_buffers.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "core/base/assert.hpp"

namespace kvault::vulkan {

Result<> EngineBuffers::wait(VkSemaphore timeline, std::uint64_t value) {
  const Context& context = runtime_->context();
  VkSemaphoreWaitInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
  info.semaphoreCount = 1;
  info.pSemaphores = &timeline;
  info.pValues = &value;
  return check(context.api().vkWaitSemaphores(context.device(), &info,
                                              std::numeric_limits<std::uint64_t>::max()),
               "waiting for the engine");
}

/// Records, after all that came before, and waits for it; for what was recorded before a failure
/// too, as the caller then gives up its memory.
template <class Record>
Result<> EngineBuffers::run(const Record& record) {
  Stream& stream = runtime_->stream();
  Result<> done = stream.barrier();
  try {
    if (done) done = record();
  } catch (const std::bad_alloc&) {
    done = fail(Errc::out_of_memory, "vulkan: no memory to copy an engine's buffer");
  }
  const Result<> waited = stream.wait(stream.open_value());
  return done ? waited : done;
}

Result<> EngineBuffers::read(std::span<const EngineRead> reads) {
  return run([&]() -> Result<> {
    for (const EngineRead& read : reads) KVAULT_CHECK(record_read(read));
    return {};
  });
}

Result<> EngineBuffers::write(std::span<const EngineWrite> writes) {
  return run([&]() -> Result<> {
    for (const EngineWrite& write : writes) KVAULT_CHECK(record_write(write));
    return {};
  });
}

/// Ranges gather until they fill a piece; a range may go on in the next.
Result<> EngineBuffers::record_read(const EngineRead& read) {
  std::vector<VkBufferCopy> regions;
  std::uint64_t piece_bytes = 0;
  std::uint64_t done_bytes = 0;
  const auto hand_in = [&]() -> Result<> {
    const std::uint64_t first = std::exchange(done_bytes, done_bytes + piece_bytes);
    const std::uint64_t size_bytes = std::exchange(piece_bytes, 0);
    return record_piece(read.buffer, std::exchange(regions, {}),
                        read.target.subspan(first, size_bytes));
  };
  for (ByteRange left : read.ranges) {
    while (left.size_bytes > 0) {
      const std::uint64_t n = std::min(left.size_bytes, kPieceSizeBytes - piece_bytes);
      regions.push_back({left.offset_bytes, piece_bytes, n});
      left = {left.offset_bytes + n, left.size_bytes - n};
      piece_bytes += n;
      if (piece_bytes == kPieceSizeBytes) KVAULT_CHECK(hand_in());
    }
  }
  if (piece_bytes > 0) KVAULT_CHECK(hand_in());
  KVAULT_ASSERT(done_bytes == read.target.size());
  return {};
}

Result<> EngineBuffers::record_piece(VkBuffer buffer, std::vector<VkBufferCopy> regions,
                                     std::span<std::byte> target) {
  KVAULT_TRY(const MemoryRange staged, runtime_->stage(MemoryKind::download, target.size()));
  for (VkBufferCopy& region : regions) region.dstOffset += staged.offset_bytes;
  KVAULT_TRY(VkCommandBuffer commands, runtime_->stream().commands());
  runtime_->context().api().vkCmdCopyBuffer(
      commands, buffer, staged.buffer, static_cast<std::uint32_t>(regions.size()), regions.data());
  runtime_->stream().when_done(
      [staged, target] { std::memcpy(target.data(), staged.host, target.size()); });
  return runtime_->pace(target.size());
}

Result<> EngineBuffers::record_write(const EngineWrite& write) {
  for (std::uint64_t done = 0; done < write.source.size(); done += kPieceSizeBytes) {
    const auto piece = write.source.subspan(
        done, std::min<std::uint64_t>(kPieceSizeBytes, write.source.size() - done));
    KVAULT_TRY(const MemoryRange staged, runtime_->stage(MemoryKind::upload, piece.size()));
    std::memcpy(staged.host, piece.data(), piece.size());
    KVAULT_TRY(VkCommandBuffer commands, runtime_->stream().commands());
    const VkBufferCopy region = {staged.offset_bytes, write.offset_bytes + done, piece.size()};
    runtime_->context().api().vkCmdCopyBuffer(commands, staged.buffer, write.buffer, 1, &region);
    KVAULT_CHECK(runtime_->pace(piece.size()));
  }
  return {};
}

}  // namespace kvault::vulkan
