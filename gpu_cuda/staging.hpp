#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/os/thread_pool.hpp"
#include "gpu_cuda/stream.hpp"

namespace kvault::cuda {

/// Pinned host memory that what goes between host and device goes through, in a few chunks of a
/// fixed size that are used in turn: taking more waits until the device is done with the oldest.
class Staging {
 public:
  static constexpr std::uint64_t kChunkBytes = std::uint64_t{8} << 20U;

  Staging(const Context& context, Stream& stream);
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  /// The stream has to be drained.
  ~Staging();

  /// At most kChunkBytes, for the open stretch of the stream.
  Result<std::byte*> take(std::uint64_t size_bytes);
  /// On the stream; `source` may be used again at once. Large ones are copied by a few threads: one
  /// alone keeps up with no bus.
  Result<> upload(CUdeviceptr target, std::span<const std::byte> source);

 private:
  struct Chunk {
    std::byte* memory = nullptr;
    std::uint64_t used_bytes = 0;
    std::uint64_t value = 0;  ///< the last stretch that uses it
  };

  Result<> open_next();
  void copy(std::byte* target, std::span<const std::byte> source);

  const Context& context_;
  Stream& stream_;
  std::array<Chunk, 4> chunks_;
  std::size_t open_ = 0;
  std::unique_ptr<ThreadPool> copiers_;  ///< once there is something large
};

}  // namespace kvault::cuda
