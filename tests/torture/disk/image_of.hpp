#pragma once

#include <filesystem>

#include "tests/torture/disk/medium.hpp"

namespace kvault::torture {

/// What a directory holds now; shared memory of SQLite left out.
Image image_of(const std::filesystem::path& directory);

}  // namespace kvault::torture
