#pragma once

#include "core/device/device.hpp"
#include "gpu_cuda/runtime.hpp"

namespace kvault::cuda {

/// Device::encode, on the runtime's stream.
Result<> hand_in_encode(Runtime& runtime, const EncodeArgs& args);

}  // namespace kvault::cuda
