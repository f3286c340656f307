#pragma once

#include "core/device/device.hpp"
#include "gpu_cuda/runtime.hpp"

namespace kvault::cuda {

/// Device::reconstruct, on the runtime's stream.
Result<> hand_in_reconstruct(Runtime& runtime, const ReconstructArgs& args);

}  // namespace kvault::cuda
