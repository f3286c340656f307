#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "gpu_vulkan/runtime.hpp"

namespace kvault::vulkan {

/// A range of bytes of a buffer.
struct ByteRange {
  std::uint64_t offset_bytes = 0;
  std::uint64_t size_bytes = 0;
};

/// Ranges of an engine's buffer, to stand in host memory one behind the other. The target is as
/// large as all of them.
struct EngineRead {
  VkBuffer buffer = VK_NULL_HANDLE;
  std::span<const ByteRange> ranges;
  std::span<std::byte> target;
};

/// Host memory, to stand in an engine's buffer.
struct EngineWrite {
  VkBuffer buffer = VK_NULL_HANDLE;
  std::uint64_t offset_bytes = 0;
  std::span<const std::byte> source;
};

/// Copies between host memory and buffers that an engine made on the device it lent, with no other
/// usage than being copied from or to. Ranges lie in their buffers: who calls has checked that.
/// Works in the stream of the Device over the same runtime, and on the same thread.
class EngineBuffers {
 public:
  explicit EngineBuffers(std::shared_ptr<Runtime> runtime) : runtime_(std::move(runtime)) {}

  /// Returns when the engine's timeline semaphore has reached the value.
  Result<> wait(VkSemaphore timeline, std::uint64_t value);
  /// All reads in one go; they are done when it returns.
  Result<> read(std::span<const EngineRead> reads);
  /// All writes in one go; they are done when it returns.
  Result<> write(std::span<const EngineWrite> writes);

 private:
  template <class Record>
  Result<> run(const Record& record);
  Result<> record_read(const EngineRead& read);
  Result<> record_piece(VkBuffer buffer, std::vector<VkBufferCopy> regions,
                        std::span<std::byte> target);
  Result<> record_write(const EngineWrite& write);

  std::shared_ptr<Runtime> runtime_;
};

}  // namespace kvault::vulkan
