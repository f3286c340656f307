#pragma once

#include <filesystem>
#include <utility>

#include "core/base/result.hpp"
#include "core/os/file.hpp"

namespace kvault {

/// A file that appears under its name whole or not at all: it is written under a hidden name in
/// the same directory. Destroyed before publish(), it leaves nothing. Move-only.
class NewFile {
 public:
  /// Errc::already_exists where something lies at `target`.
  static Result<NewFile> create(const std::filesystem::path& target);
  NewFile(NewFile&& other) noexcept
      : target_(std::move(other.target_)), file_(std::move(other.file_)) {}
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile();

  File& file() noexcept { return file_; }
  /// Returns when the file is on the medium under its name. Replaces nothing:
  /// Errc::already_exists where something came there meanwhile. After an error nothing of ours is
  /// there.
  Result<> publish();

 private:
  NewFile(std::filesystem::path target, File file)
      : target_(std::move(target)), file_(std::move(file)) {}

  std::filesystem::path target_;
  File file_;  ///< open as long as its hidden name is ours to remove
};

}  // namespace kvault
