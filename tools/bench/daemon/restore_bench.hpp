#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "core/device/device.hpp"
#include "sdk/src/client.hpp"
#include "tools/bench/daemon/figure.hpp"

namespace kvault::tools {

/// A stored session, opened again and again.
struct RestoreBench {
  Client& client;
  Device& device;
  std::string session;
  std::uint32_t n_repetition = 7;
};

/// How long attaching takes, the first layer, and all of it: warm, and with the packs' pages
/// dropped from the system's memory, beside plainly reading the same bytes in turn.
Result<std::vector<Figure>> measure_restore(const RestoreBench& bench);

}  // namespace kvault::tools
