#pragma once

#include <memory>
#include <vector>

#include "core/device/backend.hpp"
#include "core/device/device.hpp"
#include "gpu_vulkan/runtime.hpp"

namespace kvault::vulkan {

/// The adapter that options.adapter names; see choose_adapter.
Result<std::unique_ptr<Device>> open_device(const DeviceOptions& options);
/// The only Device of the context.
Result<std::unique_ptr<Device>> open_device(std::shared_ptr<const Context> context);

std::unique_ptr<Device> open_device(std::shared_ptr<Runtime> runtime);

/// Every adapter of this machine; a usable one was opened to see that it can be.
Result<std::vector<DeviceAdapter>> list_adapters();

}  // namespace kvault::vulkan
