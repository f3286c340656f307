#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <utility>
#include <vector>

#include "core/base/result.hpp"
#include "core/format/record.hpp"
#include "core/os/file.hpp"
#include "sdk/src/client_types.hpp"

namespace kvault {

/// An exported session, for reading. Nothing in it is trusted: counts are bounded by the file's own
/// size before anything is made of them, and bytes are read, never mapped, since the file may be
/// changed or cut by others while it is in use.
class SessionFile {
 public:
  /// One record, verified to the last byte; keep it as long as its upload() is used.
  class Record {
   public:
    Record(Record&&) noexcept = default;  // never copied: the pieces lie in the bytes
    /// Borrows the record's bytes.
    client::RecordUpload upload() const { return {draft, pieces_}; }
    RecordDraft draft;

   private:
    friend class SessionFile;
    Record() = default;
    std::vector<std::byte> bytes_;
    std::vector<std::span<const std::byte>> pieces_;
  };

  /// Header and commit record, verified, and that the records fill what lies between them.
  /// Errc::truncated, corrupt, unknown_format, not_found, io.
  static Result<SessionFile> open(const std::filesystem::path& path);

  const CommitMeta& meta() const { return meta_; }
  std::uint64_t size_bytes() const { return size_bytes_; }
  /// Reads and verifies one of meta().records; it also fits the session's shape.
  Result<Record> read(const LiveRecord& live) const;

 private:
  explicit SessionFile(File file) : file_(std::move(file)) {}
  Result<> read_header();
  Result<> read_commit();
  Result<> check_places() const;
  Result<std::vector<std::byte>> read_bytes(std::uint64_t offset, std::uint64_t size) const;
  Error damaged(std::uint64_t offset, const Error& why) const;

  File file_;
  CommitMeta meta_;
  std::uint64_t file_id_ = 0;
  std::uint64_t size_bytes_ = 0;
  std::uint64_t commit_offset_ = 0;
  std::uint32_t n_record_ = 0;
};

}  // namespace kvault
