#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "core/device/device.hpp"
#include "kvault_backends.hpp"

namespace kvault::test {

/// Every device of this build that this machine has; an absent one is named with its reason.
inline std::vector<std::unique_ptr<Device>> open_devices() {
  std::vector<std::unique_ptr<Device>> devices;
  for (const BackendEntry& entry : backends()) {
    Result<std::unique_ptr<Device>> device = entry.open({.n_thread = 2});
    if (device) {
      devices.push_back(std::move(*device));
    } else {
      MESSAGE("skipped device ", std::string(entry.name), ": ", device.error().message);
      REQUIRE(device.error().code == Errc::device_absent);
    }
  }
  REQUIRE(!devices.empty());
  return devices;
}

}  // namespace kvault::test
