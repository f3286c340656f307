#pragma once

#include "gpu_vulkan/context.hpp"

namespace kvault::vulkan {

/// Whether the driver reads a file that is mapped for reading, as a pack is: some take anonymous or
/// writable memory only, and some of them say so only when the work is handed in. After `false` the
/// device may be lost.
bool can_read_mapped_file(const Context& context);

}  // namespace kvault::vulkan
