#include "core/os/lock.hpp"

namespace kvault {

Result<FileLock> FileLock::acquire(const std::filesystem::path& path) {
  Result<File> file = File::create(path);
  if (!file && file.error().code == Errc::already_exists) file = File::open(path);
  if (!file) return tl::unexpected<Error>(std::move(file).error());
  KVAULT_CHECK(file->lock_exclusive());
  return FileLock(std::move(*file));
}

}  // namespace kvault
