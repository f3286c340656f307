#include "core/os/lock.hpp"

#include <sys/file.h>

#include <cerrno>

#include "core/os/system_error.hpp"

namespace kvault {

Result<FileLock> FileLock::acquire(const std::filesystem::path& path) {
  Result<File> file = File::create(path);
  if (!file && file.error().code == Errc::already_exists) file = File::open(path);
  if (!file) return tl::unexpected<Error>(std::move(file).error());
  while (::flock(file->descriptor(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) {
      return fail(Errc::busy, message(path.native(), " is locked by another process"));
    }
    return fail_file("lock", path, errno);
  }
  return FileLock(std::move(*file));
}

}  // namespace kvault
