#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "core/cpu/instruction_set.hpp"
#include "core/device/device.hpp"
#include "kvault_backends.hpp"

namespace kvault::test {

/// Adds the device, or names it with the reason why this machine has none.
inline void open_device(const BackendEntry& entry, std::string_view instruction_set,
                        std::vector<std::unique_ptr<Device>>& devices) {
  Result<std::unique_ptr<Device>> device =
      entry.open({.n_thread = 2, .instruction_set = instruction_set});
  if (device) {
    devices.push_back(std::move(*device));
  } else {
    MESSAGE("skipped device ", std::string(entry.name), ": ", device.error().message);
    REQUIRE(device.error().code == Errc::device_absent);
  }
}

/// Every device of this build that this machine has; the cpu once for every instruction set.
inline std::vector<std::unique_ptr<Device>> open_devices() {
  std::vector<std::unique_ptr<Device>> devices;
  for (const BackendEntry& entry : backends()) {
    if (entry.name != "cpu") {
      open_device(entry, {}, devices);
      continue;
    }
    for (const cpu::InstructionSet set : cpu::compiled_instruction_sets()) {
      open_device(entry, name_of(set), devices);
    }
  }
  REQUIRE(!devices.empty());
  return devices;
}

}  // namespace kvault::test
