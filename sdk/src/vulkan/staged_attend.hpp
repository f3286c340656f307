#pragma once

#include <array>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "core/layout/layer.hpp"
#include "gpu_vulkan/engine_buffers.hpp"
#include "kvault/kvault_vulkan.h"

namespace kvault::c {

/// Queries and results on their way between an engine's buffers and a cache, with host memory for
/// both.
class StagedAttend {
 public:
  /// Bounds are checked; nothing is read yet.
  static Result<StagedAttend> create(const LayerSpec& spec, const kvault_attend_options* options,
                                     const kvault_vulkan_attend_buffers* buffers);

  vulkan::EngineRead read() {
    return {q_.buffer, {&q_.range, 1}, std::as_writable_bytes(std::span(q_.values))};
  }
  /// The options with the host memory in them; borrows.
  kvault_attend_options options();
  /// Of out and lse; of lse nothing where it is not wanted.
  std::array<vulkan::EngineWrite, 2> writes() const { return {out_.write(), lse_.write()}; }

 private:
  struct Part {
    VkBuffer buffer = VK_NULL_HANDLE;
    vulkan::ByteRange range;
    std::vector<float> values;
    vulkan::EngineWrite write() const {
      return {buffer, range.offset_bytes, std::as_bytes(std::span(values))};
    }
  };
  static Result<Part> make_part(const char* name, const kvault_vulkan_buffer& place,
                                std::uint64_t n_row, std::uint32_t n_column);

  kvault_attend_options options_ = KVAULT_ATTEND_OPTIONS_INIT;
  Part q_;
  Part out_;
  Part lse_;
};

}  // namespace kvault::c
