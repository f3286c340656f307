#pragma once

#include <memory>
#include <vector>

#include "core/device/backend.hpp"
#include "core/device/device.hpp"
#include "gpu_cuda/runtime.hpp"

namespace kvault::cuda {

/// The adapter that options.adapter names; see core/device/adapter_choice.hpp.
Result<std::unique_ptr<Device>> open_device(const DeviceOptions& options);
/// A Device of its own over shared memory and queue.
std::unique_ptr<Device> open_device(std::shared_ptr<Runtime> runtime);

/// What an engine lends: both outlive the device.
struct LentDevice {
  CUcontext context = nullptr;   ///< null: the calling thread's current one
  CUstream stream = nullptr;     ///< of that context; null: its legacy default stream
  bool rows_are_finite = false;  ///< the engine vouches for it
};
/// A Device with engine_memory(), on the engine's stream.
Result<std::unique_ptr<Device>> open_lent_device(const LentDevice& lent);

/// Every device of this machine.
Result<std::vector<DeviceAdapter>> list_adapters();

}  // namespace kvault::cuda
