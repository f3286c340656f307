#pragma once

#include <cstdint>

#include "core/os/file.hpp"

namespace kvault {

/// Asks the system to begin writing these bytes to the medium, and does not wait: a later
/// File::sync() has less to wait for. A hint: it promises nothing, and what goes wrong with the
/// writing is told by that sync().
void start_write_back(const File& file, std::uint64_t offset_bytes,
                      std::uint64_t size_bytes) noexcept;

}  // namespace kvault
