#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "core/device/device.hpp"
#include "sdk/src/client.hpp"
#include "tools/bench/daemon/figure.hpp"

namespace kvault::tools {

/// A stored session that is taken on by turns.
struct SaveBench {
  Client& client;
  Device& device;
  std::string session;
  std::filesystem::path folder;  ///< for the plain files, on the packs' file system
  std::uint32_t n_repetition = 15;
};

/// Saving a turn of 64 tokens, acknowledged and durable, beside writing as many bytes to a new file
/// with two syncs, in turn.
Result<std::vector<Figure>> measure_saves(const SaveBench& bench);

}  // namespace kvault::tools
