#include "sdk/src/session_export.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <thread>
#include <utility>

#include "core/format/sealed_record.hpp"
#include "core/format/session_file_header.hpp"
#include "core/os/new_file.hpp"
#include "sdk/src/mapped_pack.hpp"
#include "sdk/src/session_index.hpp"
#include "sdk/src/tail_cut.hpp"

namespace kvault {
namespace {

/// How often the places of the records are asked for again because kvaultd has moved them.
constexpr int kAttemptsMax = 8;

using Packs = std::map<std::filesystem::path, std::shared_ptr<MappedPack>>;

/// A session's records and the locked packs they lie in.
struct Source {
  client::Attachment stored;
  Packs packs;

  std::span<const std::byte> bytes_of(const client::RecordPlace& place) const {
    return packs.at(place.pack_path)
        ->mapping()
        .bytes()
        .subspan(place.offset_bytes, place.length_bytes);
  }
  std::uint64_t size_bytes() const {
    std::uint64_t total = 0;
    for (const client::RecordPlace& place : stored.records) total += place.length_bytes;
    return total;
  }
};

Result<Packs> open_packs(const std::vector<client::RecordPlace>& places) {
  std::map<std::filesystem::path, std::uint64_t> ends;
  for (const client::RecordPlace& place : places) {
    std::uint64_t& end_bytes = ends[place.pack_path];
    end_bytes = std::max(end_bytes, place.offset_bytes + place.length_bytes);
  }
  Packs packs;
  for (const auto& [path, end_bytes] : ends) {
    KVAULT_TRY(packs[path], MappedPack::open(path, end_bytes));
  }
  return packs;
}

Result<Source> open_source(Client& client, const SessionId& id) {
  for (int attempt = 1;; ++attempt) {
    KVAULT_TRY(client::Attachment stored, client.attach(id));
    Result<Packs> packs = open_packs(stored.records);
    if (packs) return Source{std::move(stored), std::move(*packs)};
    const Errc code = packs.error().code;
    if ((code != Errc::not_found && code != Errc::busy) || attempt == kAttemptsMax) {
      return fail(Errc::corrupt, message("a pack that the session needs cannot be read, asked for ",
                                         attempt, " times: ", packs.error().message));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(attempt));
  }
}

/// Keeps a session open for reading, unless its connection has it open anyway.
class ReadHold {
 public:
  static Result<ReadHold> open(Client& client, std::string_view name_or_id) {
    KVAULT_TRY(const client::Session session, client.inspect(name_or_id));
    ReadHold hold(client, session.info.id);
    if (client.has_open(hold.id_)) return hold;
    KVAULT_CHECK(client.open_session(to_hex(hold.id_), nullptr, client::OpenMode::read));
    hold.is_ours_ = true;
    return hold;
  }
  ReadHold(ReadHold&& other) noexcept
      : client_(other.client_), id_(other.id_), is_ours_(std::exchange(other.is_ours_, false)) {}
  ReadHold& operator=(ReadHold&&) = delete;
  ~ReadHold() {
    if (is_ours_) static_cast<void>(client_.close_session(id_));
  }
  const SessionId& id() const { return id_; }

 private:
  ReadHold(Client& client, const SessionId& id) : client_(client), id_(id) {}
  Client& client_;
  SessionId id_;
  bool is_ours_ = false;
};

/// Writes the file front to back, its header last.
class SessionWriter {
 public:
  SessionWriter(File& file, std::uint64_t file_id) : file_(file) { header_.file_id = file_id; }

  /// pre: verify_record() accepts `record`
  Result<LiveRecord> add(std::span<const std::byte> record) {
    KVAULT_TRY(RecordHeader header, parse_head(record));
    header.pack_id = header_.file_id;
    const std::span<const std::byte> meta = record.subspan(kRecordHeaderSize, header.meta_bytes);
    const std::vector<std::byte> head = serialise_head(header, meta);
    KVAULT_CHECK(file_.pwrite_all(end_, head));
    KVAULT_CHECK(file_.pwrite_all(end_ + head.size(), record.subspan(head.size())));
    const LiveRecord live{
        .kind = header.kind,
        .pack_kind = header.kind == RecordKind::page ? PackKind::pages : PackKind::log,
        .pack_number = 1,
        .offset_bytes = end_,
        .length_bytes = header.length_bytes,
        .first_token = header.first_token,
        .n_token = header.n_token,
        .transaction = header.transaction,
        .checksum = header.checksum};
    end_ += header.length_bytes;
    ++header_.n_record;
    return live;
  }

  Result<> finish(const client::SessionInfo& info, const CommitMeta& meta) {
    KVAULT_TRY(const std::vector<std::byte> meta_bytes, serialise_commit_meta(meta));
    RecordHeader commit{.kind = RecordKind::commit};
    commit.session = info.id;
    commit.commit_number = info.commit_number;
    commit.pack_id = header_.file_id;
    for (const LiveRecord& live : meta.records) {
      commit.transaction = std::max(commit.transaction, live.transaction);
    }
    place_payload(commit, meta_bytes.size(), 0);
    std::vector<std::byte> bytes = serialise_head(commit, meta_bytes);
    bytes.resize(commit.length_bytes);
    KVAULT_CHECK(file_.pwrite_all(end_, bytes));
    header_.commit_offset = end_;
    header_.size_bytes = end_ + commit.length_bytes;
    return file_.pwrite_all(0, serialise_session_file_header(header_));
  }

 private:
  File& file_;
  SessionFileHeader header_;
  std::uint64_t end_ = kSessionFileHeaderSize;
};

/// One record, verified to the last byte, without rows that exist no more.
Result<LiveRecord> copy_record(const Source& source, const client::RecordPlace& place,
                               SessionWriter& writer) {
  std::span<const std::byte> bytes = source.bytes_of(place);
  std::optional<OneKey> keys;
  if (source.stored.key) keys.emplace(*source.stored.key);
  const Result<RecordHeader> header = verify_record(bytes, keys ? &*keys : nullptr);
  if (!header) return tl::unexpected(SessionIndex::damaged(place, header.error().message));
  if (header->checksum != place.checksum || header->kind != place.kind ||
      header->first_token != place.first_token || header->n_token < place.n_token ||
      header->length_bytes != place.length_bytes) {
    return tl::unexpected(SessionIndex::damaged(place, "it is not the record the session names"));
  }
  // A file of its own has no store to keep its key: it is written in the clear.
  std::vector<std::byte> unsealed;
  if (keys) {
    KVAULT_TRY(unsealed, unseal_record(bytes, *keys));
    bytes = unsealed;
  }
  if (header->n_token == place.n_token) return writer.add(bytes);
  KVAULT_TRY(const std::vector<std::byte> cut,
             cut_tail(source.stored.description.shape, bytes, place.n_token));
  return writer.add(cut);
}

Result<CommitMeta> copy_records(const Source& source, const client::Progress& progress,
                                SessionWriter& writer) {
  const client::SessionInfo& info = source.stored.info;
  CommitMeta meta{.n_token = info.n_token,
                  .n_page = info.n_page,
                  .created_at_s = info.created_at_s,
                  .committed_at_s = info.committed_at_s,
                  .description = source.stored.description,
                  .attributes = info.attributes};
  meta.description.name = info.name;
  const std::uint64_t total = source.size_bytes();
  std::uint64_t done = 0;
  for (const client::RecordPlace& place : source.stored.records) {
    if (progress && !progress(done, total)) {
      return fail(Errc::cancelled, message("cancelled at byte ", done, " of ", total));
    }
    KVAULT_TRY(const LiveRecord live, copy_record(source, place, writer));
    meta.records.push_back(live);
    done += place.length_bytes;
  }
  return meta;
}

std::uint64_t random_id() {
  std::random_device random;
  return std::uint64_t{random()} << 32U | random();
}

}  // namespace

Result<> export_session(Client& client, std::string_view name_or_id,
                        const std::filesystem::path& target, const client::Progress& progress) {
  KVAULT_TRY(NewFile target_file, NewFile::create(target));
  KVAULT_TRY(const ReadHold hold, ReadHold::open(client, name_or_id));
  KVAULT_TRY(const Source source, open_source(client, hold.id()));
  SessionWriter writer(target_file.file(), random_id());
  KVAULT_TRY(const CommitMeta meta, copy_records(source, progress, writer));
  KVAULT_CHECK(writer.finish(source.stored.info, meta));
  KVAULT_CHECK(target_file.publish());
  // The file is there: whether to stop is no question any more.
  if (progress) static_cast<void>(progress(source.size_bytes(), source.size_bytes()));
  return {};
}

}  // namespace kvault
