#include "core/os/lock.hpp"

#include <sys/file.h>

#include <cerrno>

#include "core/os/directory.hpp"
#include "core/os/system_error.hpp"

namespace kvault {
namespace {

/// False where somebody else holds a lock. Does not wait.
Result<bool> lock_exclusively(const File& file) {
  while (::flock(file.descriptor(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) return false;
    return fail_file("lock", file.path(), errno);
  }
  return true;
}

}  // namespace

Result<FileLock> FileLock::acquire(const std::filesystem::path& path) {
  Result<File> file = File::create(path);
  if (!file && file.error().code == Errc::already_exists) file = File::open(path);
  if (!file) return tl::unexpected<Error>(std::move(file).error());
  KVAULT_TRY(const bool is_ours, lock_exclusively(*file));
  if (!is_ours) return fail(Errc::busy, message(path.native(), " is locked by another process"));
  return FileLock(std::move(*file));
}

Result<bool> is_locked(const std::filesystem::path& path) {
  KVAULT_TRY(const File file, File::open_read_only(path));
  KVAULT_TRY(const bool is_ours, lock_exclusively(file));
  return !is_ours;
}

Result<bool> remove_if_unlocked(const std::filesystem::path& path) {
  KVAULT_TRY(const File file, File::open_read_only(path));
  // Held until the file is gone, so that nobody locks it in between.
  KVAULT_TRY(const bool is_ours, lock_exclusively(file));
  if (!is_ours) return false;
  KVAULT_CHECK(remove_file(path));
  return true;
}

}  // namespace kvault
