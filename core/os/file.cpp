#include "core/os/file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "core/os/system_error.hpp"

namespace kvault {
namespace {

constexpr mode_t kMode = 0600;
/// One system call moves at most this much; Linux itself stops at 2 GiB.
constexpr std::size_t kPieceSizeMax = std::size_t{1} << 30U;

/// Offsets the operating system can express.
Result<off_t> offset_of(std::uint64_t offset_bytes, std::size_t size_bytes) {
  const auto limit = static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());
  if (size_bytes > limit || offset_bytes > limit - size_bytes) {
    return fail(Errc::out_of_range, message("bytes ", offset_bytes, " + ", size_bytes,
                                            " are beyond what a file can hold"));
  }
  return static_cast<off_t>(offset_bytes);
}

}  // namespace

Result<File> File::open_with(const std::filesystem::path& path, int flags) {
  for (;;) {
    const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, kMode);
    if (descriptor >= 0) {
      File file(descriptor, path);
      struct stat status {};
      if (::fstat(descriptor, &status) != 0) {
        return fail_file("inspect", path, errno);
      }
      if (!S_ISREG(status.st_mode)) {
        return fail(Errc::invalid_argument, message(path.native(), " is not a regular file"));
      }
      return file;
    }
    if (errno != EINTR) {
      const bool creates = (flags & O_CREAT) != 0;
      return fail_file(creates ? "create" : "open", path, errno);
    }
  }
}

Result<File> File::create(const std::filesystem::path& path) {
  return open_with(path, O_RDWR | O_CREAT | O_EXCL);
}

Result<File> File::open(const std::filesystem::path& path) { return open_with(path, O_RDWR); }

Result<File> File::open_read_only(const std::filesystem::path& path) {
  // O_NONBLOCK: a FIFO under this name must not hang us before it is refused.
  return open_with(path, O_RDONLY | O_NONBLOCK);
}

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    close();
    descriptor_ = std::exchange(other.descriptor_, -1);
    path_ = std::move(other.path_);
  }
  return *this;
}

File::~File() { close(); }

void File::close() noexcept {
  // Data that matters was synced before, so close() has nothing left to report.
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
}

Result<> File::pwrite_all(std::uint64_t offset_bytes, std::span<const std::byte> bytes) {
  KVAULT_TRY(off_t offset, offset_of(offset_bytes, bytes.size()));
  while (!bytes.empty()) {
    const std::size_t piece = std::min(bytes.size(), kPieceSizeMax);
    const ssize_t written = ::pwrite(descriptor_, bytes.data(), piece, offset);
    if (written < 0) {
      if (errno == EINTR) continue;
      return fail_file("write", path_, errno);
    }
    if (written == 0) return fail_file("write", path_, EIO);
    offset += written;
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return {};
}

Result<> File::pread_all(std::uint64_t offset_bytes, std::span<std::byte> target) const {
  KVAULT_TRY(off_t offset, offset_of(offset_bytes, target.size()));
  while (!target.empty()) {
    const std::size_t piece = std::min(target.size(), kPieceSizeMax);
    const ssize_t got = ::pread(descriptor_, target.data(), piece, offset);
    if (got < 0) {
      if (errno == EINTR) continue;
      return fail_file("read", path_, errno);
    }
    if (got == 0) {
      return fail(Errc::truncated, message(path_.native(), " ends at byte ", offset, ", ",
                                           target.size(), " bytes too early"));
    }
    offset += got;
    target = target.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

Result<std::uint64_t> File::size_bytes() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) {
    return fail_file("inspect", path_, errno);
  }
  return static_cast<std::uint64_t>(status.st_size);
}

Result<> File::sync() {
#if defined(__APPLE__)
  const int rc = ::fcntl(descriptor_, F_FULLFSYNC);
#else
  const int rc = ::fdatasync(descriptor_);
#endif
  if (rc != 0) return fail_file("sync", path_, errno);
  return {};
}

void File::drop_cached() const noexcept {
#if defined(POSIX_FADV_DONTNEED)
  ::posix_fadvise(descriptor_, 0, 0, POSIX_FADV_DONTNEED);
#endif
}

Result<> File::lock(int operation) {
  while (::flock(descriptor_, operation | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) {
      return fail(Errc::busy, message(path_.native(), " is locked by another process"));
    }
    return fail_file("lock", path_, errno);
  }
  return {};
}

Result<> File::lock_shared() { return lock(LOCK_SH); }

Result<> File::lock_exclusive() { return lock(LOCK_EX); }

Result<bool> File::is_linked() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) return fail_file("inspect", path_, errno);
  return status.st_nlink > 0;
}

}  // namespace kvault
