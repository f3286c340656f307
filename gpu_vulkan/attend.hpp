#pragma once

#include "gpu_vulkan/attend_plan.hpp"
#include "gpu_vulkan/runtime.hpp"

namespace kvault::vulkan {

/// Records Device::attend into the open batch; out and lse are written once it is done.
/// Errc::unsupported for positions or masks beyond what 31 bits address.
Result<> record_attend(Runtime& runtime, const AttendArgs& args);

}  // namespace kvault::vulkan
