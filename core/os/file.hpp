#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <utility>

#include "core/base/result.hpp"

namespace kvault {

/// Owns the descriptor of a regular file, close-on-exec. Move-only; reads and writes name their
/// offset, so threads may share one. Errors carry the path, errno and its text: Errc::disk_full,
/// permission, not_found, already_exists or io.
class File {
 public:
  /// A new file, mode 0600, for reading and writing; Errc::already_exists where there is one.
  static Result<File> create(const std::filesystem::path& path);
  /// An existing file, for reading and writing. Links are not followed.
  static Result<File> open(const std::filesystem::path& path);
  /// An existing file, for reading. Links are not followed.
  static Result<File> open_read_only(const std::filesystem::path& path);

  File() = default;
  File(File&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}
  File& operator=(File&& other) noexcept;
  ~File();

  bool is_open() const noexcept { return descriptor_ >= 0; }
  int descriptor() const noexcept { return descriptor_; }
  const std::filesystem::path& path() const noexcept { return path_; }

  /// All of `bytes`, or an error; what was written before the error is anyone's guess.
  Result<> pwrite_all(std::uint64_t offset_bytes, std::span<const std::byte> bytes);
  /// Fills `target`; Errc::truncated where the file ends before.
  Result<> pread_all(std::uint64_t offset_bytes, std::span<std::byte> target) const;
  Result<std::uint64_t> size_bytes() const;
  /// Returns when data and size are on the medium. After an error nothing is known about either:
  /// never retry, leave the file.
  Result<> sync();
  /// Asks the system to drop its memory copy of what is synced, so that the next read is one of the
  /// medium's. A hint, for measuring.
  void drop_cached() const noexcept;
  void close() noexcept;

  // Advisory locks of the whole file, held until the File is closed, however the process ends. One
  // replaces the other. Neither waits: Errc::busy where another File holds it otherwise.

  /// As one of any number of readers.
  Result<> lock_shared();
  /// Alone.
  Result<> lock_exclusive();
  /// Whether the file still has a name; false once it was removed.
  Result<bool> is_linked() const;

 private:
  File(int descriptor, std::filesystem::path path)
      : descriptor_(descriptor), path_(std::move(path)) {}
  Result<> lock(int operation);
  static Result<File> open_with(const std::filesystem::path& path, int flags);

  int descriptor_ = -1;
  std::filesystem::path path_;
};

}  // namespace kvault
