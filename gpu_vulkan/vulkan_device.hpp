#pragma once

#include <memory>

#include "core/device/device.hpp"
#include "gpu_vulkan/context.hpp"

namespace kvault::vulkan {

/// The adapter that options.adapter names; see choose_adapter.
Result<std::unique_ptr<Device>> open_device(const DeviceOptions& options);
Result<std::unique_ptr<Device>> open_device(std::shared_ptr<const Context> context);

}  // namespace kvault::vulkan
