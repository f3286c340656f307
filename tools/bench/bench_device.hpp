#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/device/backend.hpp"
#include "tools/bench/bench_options.hpp"

namespace kvault::tools {

/// A device to measure, and which of its backend's it is.
struct BenchDevice {
  std::unique_ptr<Device> device;
  DeviceAdapter adapter;  ///< with only a name, that of `--device`, where the backend lists none
};

/// The device that `text` names, as every command takes it.
Result<BenchDevice> open_bench_device(const std::string& text, const DeviceOptions& options);

/// The device of the options, once per thread count and instruction set.
Result<std::vector<BenchDevice>> open_bench_devices(const BenchOptions& options);

/// Whether the work of a device of this kind is done by the processor, by way of a GPU's API.
bool is_software_gpu(const BenchDevice& device);

}  // namespace kvault::tools
