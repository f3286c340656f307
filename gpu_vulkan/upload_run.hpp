#pragma once

#include <cstdint>
#include <vector>

#include "gpu_vulkan/memory.hpp"
#include "gpu_vulkan/stream.hpp"

namespace kvault::vulkan {

/// Uploads behind one another, which need no barrier between them as long as their places do not
/// overlap: rows of a token come in one small upload for every head.
class UploadRun {
 public:
  explicit UploadRun(Stream& stream) : stream_(stream) {}

  /// Before an upload to `size_bytes` of a range is recorded: a barrier, where one is needed.
  Result<> begin(const MemoryRange& range, std::uint64_t offset_bytes, std::uint64_t size_bytes);
  /// After it was recorded.
  void end() { n_recorded_ = stream_.n_recorded(); }

 private:
  struct Place {
    VkBuffer buffer;
    std::uint64_t begin_bytes;
    std::uint64_t end_bytes;
  };

  Stream& stream_;
  std::vector<Place> places_;     ///< of the run
  std::uint64_t n_recorded_ = 0;  ///< of the stream, where the run ends
};

}  // namespace kvault::vulkan
