#pragma once

#include <memory>

#include "gpu_vulkan/runtime.hpp"

namespace kvault::vulkan {

/// A range of device memory, or host memory that the device reads in place.
class VulkanBuffer final : public Buffer {
 public:
  VulkanBuffer(std::shared_ptr<Runtime> runtime, const MemoryRange& range, std::uint64_t size_bytes)
      : runtime_(std::move(runtime)), range_(range), size_bytes_(size_bytes) {}
  /// Over imported memory, of which the range may be a part.
  VulkanBuffer(std::shared_ptr<Runtime> runtime, std::unique_ptr<MemoryBlock> imported,
               const MemoryRange& range, std::uint64_t size_bytes)
      : runtime_(std::move(runtime)),
        imported_(std::move(imported)),
        range_(range),
        size_bytes_(size_bytes) {}
  /// Work that was handed in may still use the memory: it is given back once that is done.
  ~VulkanBuffer() override {
    if (imported_ == nullptr) {
      runtime_->stream().retire(runtime_->pool(MemoryKind::device), range_);
    }
  }

  std::uint64_t size_bytes() const noexcept override { return size_bytes_; }
  const MemoryRange& range() const { return range_; }
  bool is_imported() const { return imported_ != nullptr; }

 private:
  std::shared_ptr<Runtime> runtime_;
  std::unique_ptr<MemoryBlock> imported_;
  MemoryRange range_;
  std::uint64_t size_bytes_;
};

inline const MemoryRange& range_of(const Buffer* buffer) {
  return static_cast<const VulkanBuffer*>(buffer)->range();
}

/// Where a block of a call's buffers stands.
inline VkDeviceAddress address_of(std::span<const Buffer* const> buffers, const BlockRef& block) {
  return range_of(buffers[block.buffer]).address + block.offset_bytes;
}

}  // namespace kvault::vulkan
