#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "gpu_vulkan/context.hpp"

namespace kvault::vulkan {

class MemoryBlock;

/// A range of a memory block. Plain data: whoever asked for it gives it back.
struct MemoryRange {
  MemoryBlock* block = nullptr;
  VkBuffer buffer = VK_NULL_HANDLE;
  std::uint64_t offset_bytes = 0;  ///< in the buffer
  std::uint64_t size_bytes = 0;
  VkDeviceAddress address = 0;  ///< of the range
  std::byte* host = nullptr;    ///< where the host can see it
};

/// One allocation of the driver with a buffer over all of it. Owner of both.
class MemoryBlock {
 public:
  static Result<std::unique_ptr<MemoryBlock>> create(const Context& context, MemoryKind kind,
                                                     std::uint64_t size_bytes);
  /// Over memory of the host's, aligned as the adapter wants it.
  static Result<std::unique_ptr<MemoryBlock>> import_host(const Context& context,
                                                          std::span<const std::byte> bytes);
  explicit MemoryBlock(const Context& context) : context_(context) {}
  MemoryBlock(const MemoryBlock&) = delete;
  MemoryBlock& operator=(const MemoryBlock&) = delete;
  ~MemoryBlock();

  /// Everything in one range.
  MemoryRange whole();
  bool is_unused() const;
  /// The first free range that is large enough, or a range without a block.
  MemoryRange take(std::uint64_t size_bytes);
  void give_back(const MemoryRange& range);

 private:
  Result<> bind(MemoryKind kind, const void* import_info, std::uint32_t type_bits);
  Result<> allocate(std::span<const std::uint32_t> types, VkMemoryAllocateInfo& info);

  const Context& context_;
  VkBuffer buffer_ = VK_NULL_HANDLE;
  VkDeviceMemory memory_ = VK_NULL_HANDLE;
  VkDeviceAddress address_ = 0;
  std::byte* host_ = nullptr;
  std::uint64_t size_bytes_ = 0;
  std::map<std::uint64_t, std::uint64_t> free_;  ///< offset -> size, no two adjacent
};

/// Memory of one kind, cut from blocks of 64 MiB: drivers allow few allocations. Thread-safe.
class MemoryPool {
 public:
  MemoryPool(const Context& context, MemoryKind kind) : context_(context), kind_(kind) {}

  /// Aligned to 256 bytes. Errc::out_of_memory says how much was wanted and what is taken.
  Result<MemoryRange> take(std::uint64_t size_bytes);
  void give_back(const MemoryRange& range);

 private:
  const Context& context_;
  const MemoryKind kind_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<MemoryBlock>> blocks_;
  std::uint64_t taken_bytes_ = 0;
};

}  // namespace kvault::vulkan
