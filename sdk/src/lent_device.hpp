#pragma once

#include "kvault/kvault_vulkan.h"
#include "sdk/src/cache_handle.hpp"

namespace kvault::c {

/// kvault's device on one that an engine owns. In src/vulkan/, or for builds without the backend in
/// src/no_vulkan/, where it is unsupported.
Result<SharedDevice> open_lent_device(const kvault_vulkan_device& given);

}  // namespace kvault::c
