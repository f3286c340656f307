#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "core/base/result.hpp"

namespace kvault {

/// Whether SQLite's write-ahead log (sqlite.org/fileformat2.html, section 4) is damaged. SQLite
/// ends its log silently at the first frame whose checksum is wrong; a catalog without the
/// transactions behind it looks sound and is old. Errc::corrupt where a transaction of this log
/// lies behind a frame that is not sound, or frames behind a header that is not: each was synced
/// before the next was written. Within the newest transaction damage cannot be told from a write
/// cut short, and is taken for that. A missing log is sound.
Result<> check_wal(const std::filesystem::path& path);
/// The same of a log's bytes.
Result<> check_wal(std::span<const std::byte> bytes);

}  // namespace kvault
