#pragma once

#include "gpu_vulkan/runtime.hpp"

namespace kvault::vulkan {

/// Records Device::reconstruct into the open batch; the rows are written once it is done.
Result<> record_reconstruct(Runtime& runtime, const ReconstructArgs& args);

}  // namespace kvault::vulkan
