#pragma once

#include <memory>
#include <vector>

#include "core/base/result.hpp"
#include "core/device/backend.hpp"
#include "core/device/device.hpp"

namespace kvault::cpu {

/// The host as a device: always there. Every verb is done when it returns. Adopts host memory.
Result<std::unique_ptr<Device>> open_device(const DeviceOptions& options);
/// The one there is.
Result<std::vector<DeviceAdapter>> list_adapters();

}  // namespace kvault::cpu
