#pragma once

#include <cstdint>
#include <filesystem>

namespace kvault {

/// What a store takes where nobody says: half of what is free on its disk or in the store already,
/// and no more than 64 GiB.
std::uint64_t default_quota_bytes(const std::filesystem::path& directory);

}  // namespace kvault
