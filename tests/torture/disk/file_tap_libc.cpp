// The file calls of libc, replaced for the whole executable, SQLite's included: each makes the
// system call itself and tells the tap.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include <cerrno>
#include <cstdarg>
#include <optional>
#include <string>

#include "tests/torture/disk/file_tap.hpp"

namespace {

using kvault::torture::Call;
using kvault::torture::FileTap;

FileTap& tap() { return FileTap::instance(); }

/// What AddressSanitizer's own replacements of these calls do, which ours hide: bytes that are not
/// the caller's to give or to take are reported.
void look_at([[maybe_unused]] const void* bytes, [[maybe_unused]] std::size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  void* const begin = const_cast<void*>(bytes);
  if (const void* const bad = __asan_region_is_poisoned(begin, size)) {
    static_cast<void>(*static_cast<const volatile char*>(bad));
  }
#endif
}

int system_open(int directory, const char* path, int flags, mode_t mode) {
  return static_cast<int>(::syscall(SYS_openat, directory, path, flags, mode));
}

bool exists(const char* path) { return ::syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0; }

int tapped_open(const char* path, int flags, mode_t mode) {
  const std::optional<std::string> name = tap().relative(path);
  if (!name) return system_open(AT_FDCWD, path, flags, mode);
  if (const int error = tap().fault_of(Call::open, *name); error != 0) {
    errno = error;
    return -1;
  }
  const bool is_new = (flags & O_CREAT) != 0 && !exists(path);
  const int descriptor = system_open(AT_FDCWD, path, flags, mode);
  if (descriptor < 0) return descriptor;
  struct stat status {};
  ::fstat(descriptor, &status);
  tap().opened(descriptor, *name, is_new, S_ISDIR(status.st_mode));
  return descriptor;
}

mode_t mode_from(int flags, va_list arguments) {
  return (flags & O_CREAT) != 0 ? static_cast<mode_t>(va_arg(arguments, unsigned)) : 0;
}

ssize_t tapped_write(int descriptor, const void* data, std::size_t size, off_t offset,
                     bool has_offset) {
  look_at(data, size);
  const auto write = [&](std::size_t part) {
    return has_offset
               ? static_cast<ssize_t>(::syscall(SYS_pwrite64, descriptor, data, part, offset))
               : static_cast<ssize_t>(::syscall(SYS_write, descriptor, data, part));
  };
  const std::optional<std::string> name = tap().path_of(descriptor);
  if (!name) return write(size);
  if (const int error = tap().fault_of(Call::write, *name); error != 0) {
    errno = error;
    return -1;
  }
  if (!has_offset) offset = ::lseek(descriptor, 0, SEEK_CUR);
  const ssize_t written = write(tap().is_short_now() ? (size + 1) / 2 : size);
  if (written > 0) {
    tap().written(descriptor, static_cast<std::uint64_t>(offset), data,
                  static_cast<std::size_t>(written));
  }
  return written;
}

ssize_t tapped_read(int descriptor, void* target, std::size_t size, off_t offset) {
  look_at(target, size);
  if (const std::optional<std::string> name = tap().path_of(descriptor)) {
    if (const int error = tap().fault_of(Call::read, *name); error != 0) {
      errno = error;
      return -1;
    }
  }
  return ::syscall(SYS_pread64, descriptor, target, size, offset);
}

int tapped_truncate(int descriptor, off_t size) {
  const std::optional<std::string> name = tap().path_of(descriptor);
  if (name) {
    if (const int error = tap().fault_of(Call::truncate, *name); error != 0) {
      errno = error;
      return -1;
    }
  }
  const int rc = static_cast<int>(::syscall(SYS_ftruncate, descriptor, size));
  if (name && rc == 0) tap().truncated(descriptor, static_cast<std::uint64_t>(size));
  return rc;
}

int tapped_sync(int descriptor, long number) {
  const std::optional<std::string> name = tap().path_of(descriptor);
  if (!name) return static_cast<int>(::syscall(number, descriptor));
  if (const int error = tap().fault_of(Call::sync, *name); error != 0) {
    tap().synced(descriptor, false);
    errno = error;
    return -1;
  }
  const int rc = static_cast<int>(::syscall(number, descriptor));
  tap().synced(descriptor, rc == 0);
  return rc;
}

/// A call on one path: fails where the tap says so, and is told where it succeeded.
template <class Run, class Tell>
int tapped_path(Call call, const char* path, Run run, Tell tell) {
  const std::optional<std::string> name = tap().relative(path);
  if (!name) return run();
  if (const int error = tap().fault_of(call, *name); error != 0) {
    errno = error;
    return -1;
  }
  const int rc = run();
  if (rc == 0) tell(*name);
  return rc;
}

}  // namespace

#define KVAULT_REPLACED extern "C" __attribute__((visibility("default")))

KVAULT_REPLACED int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_from(flags, arguments);
  va_end(arguments);
  return tapped_open(path, flags, mode);
}
KVAULT_REPLACED int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_from(flags, arguments);
  va_end(arguments);
  return tapped_open(path, flags, mode);
}
KVAULT_REPLACED int close(int descriptor) {
  tap().closed(descriptor);
  return static_cast<int>(::syscall(SYS_close, descriptor));
}
KVAULT_REPLACED ssize_t write(int descriptor, const void* data, std::size_t size) {
  return tapped_write(descriptor, data, size, 0, false);
}
KVAULT_REPLACED ssize_t pwrite(int descriptor, const void* data, std::size_t size, off_t offset) {
  return tapped_write(descriptor, data, size, offset, true);
}
KVAULT_REPLACED ssize_t pwrite64(int descriptor, const void* data, std::size_t size,
                                 off64_t offset) {
  return tapped_write(descriptor, data, size, offset, true);
}
KVAULT_REPLACED ssize_t pread(int descriptor, void* target, std::size_t size, off_t offset) {
  return tapped_read(descriptor, target, size, offset);
}
KVAULT_REPLACED ssize_t pread64(int descriptor, void* target, std::size_t size, off64_t offset) {
  return tapped_read(descriptor, target, size, offset);
}
KVAULT_REPLACED int ftruncate(int descriptor, off_t size) noexcept {
  return tapped_truncate(descriptor, size);
}
KVAULT_REPLACED int ftruncate64(int descriptor, off64_t size) noexcept {
  return tapped_truncate(descriptor, size);
}
KVAULT_REPLACED int fsync(int descriptor) { return tapped_sync(descriptor, SYS_fsync); }
KVAULT_REPLACED int fdatasync(int descriptor) { return tapped_sync(descriptor, SYS_fdatasync); }
KVAULT_REPLACED int unlink(const char* path) noexcept {
  const auto run = [&] { return static_cast<int>(::syscall(SYS_unlinkat, AT_FDCWD, path, 0)); };
  return tapped_path(Call::unlink, path, run,
                     [](const std::string& name) { tap().unlinked(name); });
}
KVAULT_REPLACED int mkdir(const char* path, mode_t mode) noexcept {
  const auto run = [&] { return static_cast<int>(::syscall(SYS_mkdirat, AT_FDCWD, path, mode)); };
  return tapped_path(Call::mkdir, path, run,
                     [](const std::string& name) { tap().directory_made(name); });
}
KVAULT_REPLACED int rename(const char* from, const char* to) noexcept {
  const auto run = [&] {
    return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
  };
  return tapped_path(Call::rename, from, run, [&](const std::string& name) {
    tap().renamed(name, tap().relative(to).value_or(std::string()));
  });
}
KVAULT_REPLACED int renameat2(int from_directory, const char* from, int to_directory,
                              const char* to, unsigned flags) noexcept {
  const auto run = [&] {
    return static_cast<int>(
        ::syscall(SYS_renameat2, from_directory, from, to_directory, to, flags));
  };
  return tapped_path(Call::rename, from, run, [&](const std::string& name) {
    tap().renamed(name, tap().relative(to).value_or(std::string()));
  });
}
KVAULT_REPLACED void* mmap(void* address, std::size_t size, int protection, int flags,
                           int descriptor, off_t offset) noexcept {
  if (descriptor >= 0) {
    if (const std::optional<std::string> name = tap().path_of(descriptor)) {
      if (const int error = tap().fault_of(Call::mmap, *name); error != 0) {
        errno = error;
        return MAP_FAILED;
      }
    }
  }
  return reinterpret_cast<void*>(
      ::syscall(SYS_mmap, address, size, protection, flags, descriptor, offset));
}
KVAULT_REPLACED void* mmap64(void* address, std::size_t size, int protection, int flags,
                             int descriptor, off64_t offset) noexcept {
  return mmap(address, size, protection, flags, descriptor, offset);
}
