#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/base/result.hpp"

namespace kvault {

/// Returns when the directory's entries (files created, renamed, removed) are on the medium.
Result<> sync_directory(const std::filesystem::path& directory);
/// Names of the regular files in a directory, sorted.
Result<std::vector<std::string>> list_files(const std::filesystem::path& directory);
/// Errc::not_found where there is none.
Result<> remove_file(const std::filesystem::path& path);
/// Within one file system; what lies at `target` is replaced.
Result<> rename_file(const std::filesystem::path& source, const std::filesystem::path& target);
/// Within one file system; Errc::already_exists where something lies at `target`. Atomic where the
/// file system can rename without replacing or make hard links, as all of Linux's own can.
Result<> rename_to_free_name(const std::filesystem::path& source,
                             const std::filesystem::path& target);

}  // namespace kvault
