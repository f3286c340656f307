#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "core/base/result.hpp"

namespace kvault::vulkan {

// The file of compiled pipelines: a magic, the driver's id, the length and XXH3 of what follows.
// Drivers are known to crash on a damaged one, so that it is checked before they see it.

/// The driver's data; empty where there is no file, or it is damaged or of another driver.
std::vector<std::byte> read_pipeline_file(const std::filesystem::path& path,
                                          std::span<const std::uint8_t> driver_uuid);
/// Written beside the file and renamed into its place.
Result<> write_pipeline_file(const std::filesystem::path& path,
                             std::span<const std::uint8_t> driver_uuid,
                             std::span<const std::byte> data);

}  // namespace kvault::vulkan
