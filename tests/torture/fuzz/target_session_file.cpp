#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <string>

#include "core/format/session_file_header.hpp"
#include "core/os/file.hpp"
#include "sdk/src/session_file.hpp"
#include "tests/torture/fuzz/fuzz_target.hpp"
#include "tests/torture/fuzz/record_bytes.hpp"

/// Exported sessions, read as an import reads them.
namespace kvault::torture {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kFileId = 77;
constexpr std::size_t kHeaderChecksumAt = 24;  // docs/format.md, section 6

void append(Bytes& file, const Bytes& record) {
  file.insert(file.end(), record.begin(), record.end());
}

/// A page, a tail and the commit that names them.
Bytes sound_file() {
  const SessionDescription description = small_session("seed", false);
  std::vector<std::uint32_t> tokens(128);
  std::iota(tokens.begin(), tokens.end(), 1000U);
  Bytes file(kSessionFileHeaderSize);
  CommitMeta meta{.n_token = 131, .n_page = 1, .description = description};
  for (const Upload& upload :
       {page_upload(description.shape, 0, tokens, 1),
        tail_upload(description.shape, 128, std::span(tokens).first(3), 3)}) {
    RecordHeader header = header_of(upload);
    header.pack_id = kFileId;
    const Bytes record =
        record_bytes(header, serialise_payload_meta(upload.draft.meta), upload.payload);
    header = parse_head(record).value();
    const bool is_page = header.kind == RecordKind::page;
    meta.records.push_back({.kind = header.kind,
                            .pack_kind = is_page ? PackKind::pages : PackKind::log,
                            .pack_number = 1,
                            .offset_bytes = file.size(),
                            .length_bytes = header.length_bytes,
                            .first_token = header.first_token,
                            .n_token = header.n_token,
                            .transaction = header.transaction,
                            .checksum = header.checksum});
    append(file, record);
  }
  SessionFileHeader header{.file_id = kFileId, .commit_offset = file.size(), .n_record = 2};
  RecordHeader commit{.kind = RecordKind::commit, .transaction = 9};
  commit.pack_id = kFileId;
  append(file, record_bytes(commit, serialise_commit_meta(meta).value(), {}));
  header.size_bytes = file.size();
  const Bytes head = serialise_session_file_header(header);
  std::copy(head.begin(), head.end(), file.begin());
  return file;
}

/// One file for all inputs, in memory where the system has a place for that.
class Scratch {
 public:
  Scratch() {
    std::error_code error;
    const std::filesystem::path memory = "/dev/shm";
    const bool has_memory = std::filesystem::is_directory(memory, error);
    path_ = (has_memory ? memory : std::filesystem::temp_directory_path()) /
            message("kvault-fuzz-", ::getpid());
    std::filesystem::remove(path_, error);
    file_ = File::create(path_).value();
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  const std::filesystem::path& hold(std::span<const std::byte> bytes) {
    if (::ftruncate(file_.descriptor(), static_cast<off_t>(bytes.size())) != 0 ||
        !file_.pwrite_all(0, bytes)) {
      throw std::runtime_error("cannot write " + path_.native());
    }
    return path_;
  }

 private:
  std::filesystem::path path_;
  File file_;
};

void run_session_file(std::span<const std::byte> bytes) {
  static Scratch scratch;
  const Result<SessionFile> file = SessionFile::open(scratch.hold(bytes));
  if (!file) return;
  must(check_description(file->meta().description).has_value(), "a description is not sound");
  std::uint64_t end = kSessionFileHeaderSize;
  for (const LiveRecord& live : file->meta().records) {
    must(live.offset_bytes == end && live.length_bytes <= bytes.size() - end,
         "a record lies outside of its file");
    end += live.length_bytes;
    const Result<SessionFile::Record> record = file->read(live);
    if (!record) continue;
    const client::RecordUpload upload = record->upload();
    must(upload.pieces.size() == upload.draft.meta.chunks.size(), "a chunk without its bytes");
  }
}

/// The header's checksum, and those of the heads of all records where they lie.
void mend_session_file(Bytes& bytes) {
  if (bytes.size() < kSessionFileHeaderSize) return;
  const std::span<std::byte> file(bytes);
  for (std::size_t at = kSessionFileHeaderSize; at < file.size(); at += kRecordAlignment) {
    std::uint32_t magic = 0;
    if (peek(file, at, magic) && magic == kRecordMagic) mend_head(file.subspan(at));
  }
  const std::span<std::byte> header = file.first(kSessionFileHeaderSize);
  poke(header, kHeaderChecksumAt, std::uint64_t{0});
  poke(header, kHeaderChecksumAt, payload_checksum(header));
}

}  // namespace

FuzzTarget session_file_target() {
  return {.name = "session_file",
          .seeds = [] { return std::vector<Bytes>{sound_file()}; },
          .run = run_session_file,
          .mend = mend_session_file};
}

}  // namespace kvault::torture
