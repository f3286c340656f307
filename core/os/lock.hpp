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

}  // namespace kvault
