#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "daemon/clock.hpp"
#include "daemon/disk_store.hpp"
#include "daemon/manifest.hpp"

namespace kvault {
namespace {

LiveRecord live_of(const PendingRecord& record, std::uint64_t transaction) {
  return {.kind = record.header.kind,
          .pack_kind = record.room.pack.kind,
          .pack_number = record.room.pack.number,
          .offset_bytes = record.room.offset_bytes,
          .length_bytes = record.header.length_bytes,
          .first_token = record.header.first_token,
          .n_token = record.header.n_token,
          .transaction = transaction,
          .checksum = record.header.checksum};
}

/// Checksums are known once the heads are serialised, after the manifest was made.
void set_checksums(std::vector<LiveRecord>& lives, const std::vector<PendingRecord>& records) {
  std::map<std::pair<PackName, std::uint64_t>, std::uint64_t> checksums;
  for (const PendingRecord& record : records) {
    checksums[{record.room.pack, record.room.offset_bytes}] = record.header.checksum;
  }
  for (LiveRecord& live : lives) {
    const PackName pack{live.pack_kind, live.pack_number};
    const auto found = checksums.find({pack, live.offset_bytes});
    if (found != checksums.end()) live.checksum = found->second;
  }
}

}  // namespace

Result<std::vector<PendingRecord>> DiskStore::take_records(
    const SessionId& session, const std::vector<RecordHandle>& handles) {
  std::vector<PendingRecord> records;
  Result<> done;
  for (const RecordHandle handle : handles) {
    const auto found = pending_.find(handle);
    if (found == pending_.end() || found->second.session != session) {
      done = fail(Errc::not_found,
                  message("session ", to_hex(session), " has no pending record ", handle.raw));
      continue;
    }
    if (!found->second.is_finished) {
      done = fail(Errc::incomplete, message("the pending record ", handle.raw, " is not finished"));
    }
    records.push_back(std::move(found->second));
    pending_.erase(found);
  }
  if (done) return records;
  for (const PendingRecord& record : records) packs().release(record.room);
  return tl::unexpected<Error>(std::move(done).error());
}

Result<CommitInfo> DiskStore::commit(const SessionId& session, const CommitRequest& request) {
  KVAULT_TRY(std::vector<PendingRecord> records, take_records(session, request.records));
  std::sort(records.begin(), records.end(), [](const PendingRecord& a, const PendingRecord& b) {
    return std::tuple(a.header.kind, a.header.first_token) <
           std::tuple(b.header.kind, b.header.first_token);
  });
  Result<CommitInfo> info = commit_records(session, request, records);
  for (const PendingRecord& record : records) packs().release(record.room);
  return info;
}

Result<CommitInfo> DiskStore::commit_records(const SessionId& session, const CommitRequest& request,
                                             std::vector<PendingRecord>& records) {
  KVAULT_TRY(const SessionState before, catalog().load(session));
  if (request.expected_commit_number != before.commit_number) {
    return fail(Errc::conflict,
                message("session '", before.meta.description.name, "' is at commit ",
                        before.commit_number, ", not ", request.expected_commit_number));
  }
  SessionState after{
      .id = session, .commit_number = before.commit_number + 1, .place = {}, .meta = {}};
  const std::uint64_t transaction = next_transaction_++;
  std::vector<LiveRecord> added;
  for (PendingRecord& record : records) {
    record.header.transaction = transaction;
    record.header.commit_number = after.commit_number;
    added.push_back(live_of(record, transaction));
  }
  KVAULT_TRY(after.meta, next_manifest(before.meta, request, added));
  KVAULT_CHECK(set_page_keys(before, records));
  KVAULT_CHECK(write_heads(records));
  set_checksums(after.meta.records, records);
  after.meta.committed_at_s = seconds_since_1970();

  RecordHeader header{.kind = RecordKind::commit, .transaction = transaction};
  header.session = session;
  header.commit_number = after.commit_number;
  KVAULT_TRY(const std::vector<std::byte> meta, serialise_commit_meta(after.meta));
  KVAULT_TRY(after.place, write_commit(header, meta, records));
  KVAULT_CHECK(before_catalog());
  KVAULT_CHECK(catalog().update(before, after));

  CommitInfo info{.commit_number = after.commit_number,
                  .n_token = after.meta.n_token,
                  .n_page = after.meta.n_page,
                  .bytes_written = after.place.length_bytes};
  for (const PendingRecord& record : records) info.bytes_written += record.header.length_bytes;
  return info;
}

/// pre: `records` are sorted and next_manifest() accepted them: pages follow each other.
Result<> DiskStore::set_page_keys(const SessionState& before, std::vector<PendingRecord>& records) {
  if (records.empty() || records.front().header.kind != RecordKind::page) return {};
  PageKey parent;
  const std::uint64_t first_token = records.front().header.first_token;
  for (const LiveRecord& live : before.meta.records) {
    if (live.kind != RecordKind::page || live.first_token + kPageTokens != first_token) continue;
    std::vector<std::byte> head;
    KVAULT_TRY(const RecordHeader header,
               packs().read_head({live.pack_kind, live.pack_number}, live.offset_bytes, head));
    parent = header.key;
  }
  KVAULT_TRY(const std::vector<std::byte> identity, serialise_identity(before.meta.description));
  for (PendingRecord& record : records) {
    if (record.header.kind != RecordKind::page) break;
    record.header.parent_key = parent;
    record.header.key = page_key(parts_.key, parent, identity, record.draft);
    parent = record.header.key;
  }
  return {};
}

Result<> DiskStore::write_heads(std::vector<PendingRecord>& records) {
  for (PendingRecord& record : records) {
    RecordHeader& header = record.header;
    std::vector<std::byte> head = serialise_head(header, record.meta);
    head.resize(header.payload_offset);
    const std::uint64_t begin = record.room.offset_bytes;
    KVAULT_CHECK(packs().write(record.room.pack, begin, head, StoreStep::write_head));
    const std::uint64_t end = header.payload_offset + header.payload_bytes;
    if (end == header.length_bytes) continue;
    const std::vector<std::byte> padding(header.length_bytes - end);
    KVAULT_CHECK(packs().write(record.room.pack, begin + end, padding, StoreStep::write_head));
  }
  return {};
}

Result<CommitPlace> DiskStore::write_commit(RecordHeader& header, std::span<const std::byte> meta,
                                            const std::vector<PendingRecord>& records) {
  place_payload(header, meta.size(), 0);
  KVAULT_TRY(const PackRoom room, packs().reserve(PackKind::log, header.length_bytes));
  header.pack_id = room.pack_id;
  std::vector<std::byte> bytes = serialise_head(header, meta);
  bytes.resize(header.length_bytes);

  // What the commit names is on the medium before the commit is, but for what shares its sync.
  std::set<PackName> touched;
  for (const PendingRecord& record : records) touched.insert(record.room.pack);
  touched.erase(room.pack);
  Result<> done;
  for (const PackName pack : touched) {
    if (done) done = packs().sync(pack, StoreStep::sync_pack);
  }
  if (done) done = packs().write(room.pack, room.offset_bytes, bytes, StoreStep::write_commit);
  if (done) done = packs().sync(room.pack, StoreStep::sync_commit);
  packs().release(room);
  if (!done) return tl::unexpected<Error>(std::move(done).error());
  return CommitPlace{.pack_number = room.pack.number,
                     .offset_bytes = room.offset_bytes,
                     .length_bytes = header.length_bytes,
                     .transaction = header.transaction,
                     .checksum = header.checksum};
}

}  // namespace kvault
