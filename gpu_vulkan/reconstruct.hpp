#pragma once

#include "gpu_vulkan/runtime.hpp"

namespace kvault::vulkan {

/// Records Device::reconstruct, into several batches if there is much; the rows are written once
/// they are done.
Result<> record_reconstruct(Runtime& runtime, const ReconstructArgs& args);

}  // namespace kvault::vulkan
