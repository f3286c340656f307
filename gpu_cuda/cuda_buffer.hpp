#pragma once

#include <memory>

#include "core/base/assert.hpp"
#include "gpu_cuda/runtime.hpp"

namespace kvault::cuda {

/// A range of device memory.
class CudaBuffer final : public Buffer {
 public:
  CudaBuffer(std::shared_ptr<Runtime> runtime, std::uint64_t size_bytes)
      : runtime_(std::move(runtime)), size_bytes_(size_bytes) {}
  /// Work that was handed in may still use the memory: it is given back once that is done.
  ~CudaBuffer() override;

  /// Once: zeros, or what fill() will bring.
  Result<> allocate(bool is_zeroed);
  /// All of it, by the copy queue; once, and before anything else, where it is not zeroed.
  Result<> fill(std::span<const std::byte> source);
  bool is_to_be_filled() const { return state_ == State::to_be_filled; }
  /// The copy queue's stretch that brings the memory in; pre: it was filled.
  std::uint64_t arrival() const { return arrival_; }
  /// To be called before the stream is handed in what uses the memory.
  Result<> settle() const;

  std::uint64_t size_bytes() const noexcept override { return size_bytes_; }
  CUdeviceptr memory() const { return memory_; }

 private:
  enum class State : std::uint8_t {
    settled,       ///< ordered with the stream
    to_be_filled,  ///< ordered with the copy queue, as is what follows
    arriving,
  };

  std::shared_ptr<Runtime> runtime_;
  CUdeviceptr memory_ = 0;
  std::uint64_t size_bytes_;
  std::uint64_t arrival_ = 0;
  mutable State state_ = State::settled;  ///< of the order, not of the bytes
};

inline const CudaBuffer& cuda_buffer(const Buffer& buffer) {
  return static_cast<const CudaBuffer&>(buffer);
}
inline CUdeviceptr memory_of(const Buffer& buffer) { return cuda_buffer(buffer).memory(); }

/// Before work is handed in that uses them.
template <class Buffers>
Result<> settle(const Buffers& buffers) {
  for (const Buffer* const buffer : buffers) KVAULT_CHECK(cuda_buffer(*buffer).settle());
  return {};
}

/// Where a block of a call's buffers stands.
inline std::byte* address_of(std::span<const Buffer* const> buffers, const BlockRef& block) {
  return reinterpret_cast<std::byte*>(memory_of(*buffers[block.buffer]) + block.offset_bytes);
}

}  // namespace kvault::cuda
