#pragma once

#include "kvault/kvault_cuda.h"
#include "kvault/kvault_vulkan.h"
#include "sdk/src/cache_handle.hpp"

namespace kvault::c {

/// kvault's device on one that an engine owns. In src/vulkan/ and src/cuda/, or for builds without
/// the backend in src/no_vulkan/ and src/no_cuda/, where it is unsupported.
Result<SharedDevice> open_lent_device(const kvault_vulkan_device& given);
Result<SharedDevice> open_lent_device(const kvault_cuda_device& given);

}  // namespace kvault::c
