#include "sdk/src/session_file.hpp"

#include <algorithm>
#include <system_error>
#include <utility>

#include "core/format/record_check.hpp"
#include "core/format/session_file_header.hpp"

namespace kvault {

Result<SessionFile> SessionFile::open(const std::filesystem::path& path) {
  // A link the user named is followed; File itself does not.
  std::error_code error;
  const std::filesystem::path real = std::filesystem::canonical(path, error);
  KVAULT_TRY(File file, File::open_read_only(error ? path : real));
  SessionFile session(std::move(file));
  KVAULT_CHECK(session.read_header());
  KVAULT_CHECK(session.read_commit());
  KVAULT_CHECK(session.check_places());
  return session;
}

Error SessionFile::damaged(std::uint64_t offset, const Error& why) const {
  return {why.code,
          message(file_.path().filename().native(), ", record at byte ", offset, ": ", why.message),
          __FILE__, __LINE__};
}

Result<> SessionFile::read_header() {
  KVAULT_TRY(size_bytes_, file_.size_bytes());
  const std::string name = file_.path().filename().native();
  if (size_bytes_ < kSessionFileHeaderSize) {
    return fail(Errc::truncated, message(name, " has ", size_bytes_, " bytes and no header"));
  }
  std::vector<std::byte> bytes(kSessionFileHeaderSize);
  KVAULT_CHECK(file_.pread_all(0, bytes));
  KVAULT_TRY(const SessionFileHeader header, parse_session_file_header(bytes));
  if (size_bytes_ != header.size_bytes) {
    return fail(
        size_bytes_ < header.size_bytes ? Errc::truncated : Errc::corrupt,
        message(name, " has ", size_bytes_, " bytes; it was written with ", header.size_bytes));
  }
  file_id_ = header.file_id;
  commit_offset_ = header.commit_offset;
  n_record_ = header.n_record;
  return {};
}

/// pre: both lie within the file, by checked numbers; so the memory is never more than its size.
Result<std::vector<std::byte>> SessionFile::read_bytes(std::uint64_t offset,
                                                       std::uint64_t size) const {
  std::vector<std::byte> bytes(size);
  KVAULT_CHECK(file_.pread_all(offset, bytes));
  return bytes;
}

Result<> SessionFile::read_commit() {
  KVAULT_TRY(const std::vector<std::byte> bytes,
             read_bytes(commit_offset_, size_bytes_ - commit_offset_));
  const Result<RecordHeader> header = verify_record(bytes);
  if (!header) return tl::unexpected(damaged(commit_offset_, header.error()));
  if (header->kind != RecordKind::commit || header->length_bytes != bytes.size() ||
      header->pack_id != file_id_) {
    return tl::unexpected(damaged(
        commit_offset_, {Errc::corrupt, "it is not the commit of this file", __FILE__, __LINE__}));
  }
  KVAULT_TRY(meta_, parse_commit_meta(*header, bytes));
  return {};
}

/// Records lie one behind the other in the order of the commit: no byte of the file belongs to
/// none.
Result<> SessionFile::check_places() const {
  std::uint64_t end = kSessionFileHeaderSize;
  for (const LiveRecord& live : meta_.records) {
    if (live.offset_bytes != end || live.length_bytes > commit_offset_ - end) break;
    end += live.length_bytes;
  }
  if (end == commit_offset_ && meta_.records.size() == n_record_) return {};
  return fail(Errc::corrupt,
              message(file_.path().filename().native(), ": the ", meta_.records.size(),
                      " records of the commit end at byte ", end, "; the header says ", n_record_,
                      " records and byte ", commit_offset_));
}

Result<SessionFile::Record> SessionFile::read(const LiveRecord& live) const {
  Record record;
  KVAULT_TRY(record.bytes_, read_bytes(live.offset_bytes, live.length_bytes));
  const auto parse = [&]() -> Result<> {
    KVAULT_TRY(const RecordHeader header, verify_record(record.bytes_));
    if (header.kind != live.kind || header.length_bytes != live.length_bytes ||
        header.first_token != live.first_token || header.n_token != live.n_token ||
        header.transaction != live.transaction || header.checksum != live.checksum ||
        header.pack_id != file_id_) {
      return fail(Errc::corrupt, "it is not the record that the commit names");
    }
    record.draft = {.kind = header.kind,
                    .first_token = header.first_token,
                    .n_token = header.n_token,
                    .meta = {},
                    .payload_bytes = header.payload_bytes};
    KVAULT_TRY(record.draft.meta, parse_payload_meta(header, record.bytes_));
    if (const Result<> fits = check_draft(meta_.description.shape, record.draft); !fits) {
      return fail(Errc::corrupt, fits.error().message);
    }
    for (const Chunk& chunk : record.draft.meta.chunks) {
      record.pieces_.push_back(
          std::span<const std::byte>(record.bytes_)
              .subspan(header.payload_offset + chunk.offset_bytes, chunk.size_bytes));
    }
    return {};
  };
  if (const Result<> parsed = parse(); !parsed) {
    return tl::unexpected(damaged(live.offset_bytes, parsed.error()));
  }
  return record;
}

}  // namespace kvault
