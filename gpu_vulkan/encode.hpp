#pragma once

#include "gpu_vulkan/runtime.hpp"

namespace kvault::vulkan {

/// Records Device::encode into the open batch; the outcomes are written once it is done.
Result<> record_encode(Runtime& runtime, const EncodeArgs& args);

}  // namespace kvault::vulkan
