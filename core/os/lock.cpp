#include "core/os/lock.hpp"

#include "core/os/directory.hpp"

namespace kvault {
namespace {

/// False where somebody else holds a lock. Does not wait.
Result<bool> try_lock(File& file) {
  const Result<> locked = file.lock_exclusive();
  if (locked) return true;
  if (locked.error().code == Errc::busy) return false;
  return tl::unexpected<Error>(locked.error());
}

}  // namespace

Result<FileLock> FileLock::acquire(const std::filesystem::path& path) {
  Result<File> file = File::create(path);
  if (!file && file.error().code == Errc::already_exists) file = File::open(path);
  if (!file) return tl::unexpected<Error>(std::move(file).error());
  KVAULT_CHECK(file->lock_exclusive());
  return FileLock(std::move(*file));
}

Result<bool> is_locked(const std::filesystem::path& path) {
  KVAULT_TRY(File file, File::open_read_only(path));
  KVAULT_TRY(const bool is_ours, try_lock(file));
  return !is_ours;
}

Result<bool> remove_if_unlocked(const std::filesystem::path& path) {
  KVAULT_TRY(File file, File::open_read_only(path));
  // Held until the file is gone, so that nobody locks it in between.
  KVAULT_TRY(const bool is_ours, try_lock(file));
  if (!is_ours) return false;
  KVAULT_CHECK(remove_file(path));
  return true;
}

}  // namespace kvault
