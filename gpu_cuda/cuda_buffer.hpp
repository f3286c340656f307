#pragma once

#include <memory>

#include "gpu_cuda/runtime.hpp"

namespace kvault::cuda {

/// A range of device memory.
class CudaBuffer final : public Buffer {
 public:
  CudaBuffer(std::shared_ptr<Runtime> runtime, std::uint64_t size_bytes)
      : runtime_(std::move(runtime)), size_bytes_(size_bytes) {}
  /// Work that was handed in may still use the memory: it is given back once that is done.
  ~CudaBuffer() override {
    if (memory_ != 0) runtime_->release(memory_);
  }

  /// Once.
  Result<> allocate() {
    KVAULT_TRY(memory_, runtime_->allocate(size_bytes_));
    return {};
  }

  std::uint64_t size_bytes() const noexcept override { return size_bytes_; }
  CUdeviceptr memory() const { return memory_; }

 private:
  std::shared_ptr<Runtime> runtime_;
  CUdeviceptr memory_ = 0;
  std::uint64_t size_bytes_;
};

inline CUdeviceptr memory_of(const Buffer& buffer) {
  return static_cast<const CudaBuffer&>(buffer).memory();
}

/// Where a block of a call's buffers stands.
inline std::byte* address_of(std::span<const Buffer* const> buffers, const BlockRef& block) {
  return reinterpret_cast<std::byte*>(memory_of(*buffers[block.buffer]) + block.offset_bytes);
}

}  // namespace kvault::cuda
