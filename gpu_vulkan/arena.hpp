#pragma once

#include <cstdint>
#include <vector>

#include "gpu_vulkan/memory.hpp"
#include "gpu_vulkan/stream.hpp"

namespace kvault::vulkan {

/// Memory that lives as long as the batch being recorded, from chunks that come round again: a ring
/// without one fixed size. It grows with what is in flight at once and is then stable.
class Arena {
 public:
  Arena(MemoryPool& pool, Stream& stream) : pool_(pool), stream_(stream) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();

  /// Aligned to 64 bytes. Usable until the open batch is done.
  Result<MemoryRange> take(std::uint64_t size_bytes);

 private:
  struct Chunk {
    MemoryRange range;
    std::uint64_t used_bytes = 0;
    std::uint64_t busy_until = 0;  ///< the last batch that uses it
  };

  MemoryRange take_from_chunks(std::uint64_t size_bytes);
  void give_back_large();

  MemoryPool& pool_;
  Stream& stream_;
  std::vector<Chunk> chunks_;
};

}  // namespace kvault::vulkan
