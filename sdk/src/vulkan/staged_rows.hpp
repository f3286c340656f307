#pragma once

#include <cstddef>
#include <vector>

#include "core/base/result.hpp"
#include "core/layout/scheme.hpp"
#include "gpu_vulkan/engine_buffers.hpp"
#include "kvault/kvault_vulkan.h"
#include "sdk/src/cache_handle.hpp"

namespace kvault::c {

/// `size_bytes` from the place on; errors call it by its name. out_of_range beyond the buffer's
/// end, invalid_argument for a handle of 0.
Result<vulkan::ByteRange> range_in(const char* name, const kvault_vulkan_buffer& place,
                                   std::uint64_t size_bytes);

VkBuffer to_vulkan_buffer(std::uint64_t handle);

/// Rows on their way from an engine's buffer into a cache: where they stand, and the host memory
/// where they stand dense once they are read.
class StagedRows {
 public:
  /// Of one side of a layer, with bounds checked; nothing is read yet.
  static Result<StagedRows> create(const kvault_cache& cache, const LayerSpec& spec, Side side,
                                   const kvault_vulkan_rows* rows);

  vulkan::EngineRead read() { return {buffer_, ranges_, bytes_}; }
  kvault_rows rows() const { return {bytes_.data(), n_token_, 0, 0, 0}; }

 private:
  VkBuffer buffer_ = VK_NULL_HANDLE;
  std::uint32_t n_token_ = 0;
  std::vector<vulkan::ByteRange> ranges_;
  std::vector<std::byte> bytes_;
};

}  // namespace kvault::c
