#pragma once

#include <filesystem>

#include "core/base/result.hpp"
#include "core/os/file.hpp"

namespace kvault {

/// Holds a lock file, mode 0600, for this process until destroyed; the system lets go of it when
/// the process ends, however it ends. The file itself stays. Move-only.
class FileLock {
 public:
  /// Does not wait: Errc::busy where somebody holds it, this process included.
  static Result<FileLock> acquire(const std::filesystem::path& path);

 private:
  explicit FileLock(File file) : file_(std::move(file)) {}
  File file_;
};

/// Whether somebody holds a lock on a file now. Errc::not_found where there is none.
Result<bool> is_locked(const std::filesystem::path& path);
/// Removes a file, unless somebody holds a lock on it (readers of packs hold shared ones): then
/// false. Errc::not_found where there is none.
Result<bool> remove_if_unlocked(const std::filesystem::path& path);

}  // namespace kvault
