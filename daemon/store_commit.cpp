#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "core/format/sealed_record.hpp"
#include "daemon/clock.hpp"
#include "daemon/disk_store.hpp"
#include "daemon/manifest.hpp"
#include "daemon/rebuild.hpp"

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
  if (request.request_key != RequestKey() &&
      before.meta.attributes.made_by == request.request_key &&
      before.commit_number == request.expected_commit_number + 1) {
    return CommitInfo{.commit_number = before.commit_number,
                      .n_token = before.meta.n_token,
                      .n_page = before.meta.n_page};
  }
  if (request.expected_commit_number != before.commit_number) {
    return fail(Errc::conflict,
                message("session '", before.meta.description.name, "' is at commit ",
                        before.commit_number, ", not ", request.expected_commit_number));
  }
  SessionState after{.id = session,
                     .family = before.family,
                     .commit_number = before.commit_number + 1,
                     .root_prefix = before.root_prefix,
                     .page_digests = before.page_digests};
  const std::uint64_t transaction = next_transaction_++;
  after.place.transaction = transaction;
  std::vector<LiveRecord> added;
  for (PendingRecord& record : records) {
    record.header.transaction = transaction;
    record.header.commit_number = after.commit_number;
    added.push_back(live_of(record, transaction));
  }
  KVAULT_TRY(after.meta, next_manifest(before.meta, request, added));
  after.meta.attributes.made_by = request.request_key;
  KVAULT_CHECK(set_page_keys(before, records));
  KVAULT_CHECK(write_heads(records));
  set_checksums(after.meta.records, records);
  set_page_digests(records, after);
  CommitInfo info;
  KVAULT_TRY(info.shared_bytes, share_known_pages(after));
  after.meta.committed_at_s = seconds_since_1970();

  std::set<PackName> touched;
  for (const PendingRecord& record : records) touched.insert(record.room.pack);
  KVAULT_CHECK(write_commits({&after, 1}, std::move(touched)));
  KVAULT_CHECK(before_catalog());
  KVAULT_CHECK(catalog().update({after}));

  info.commit_number = after.commit_number;
  info.n_token = after.meta.n_token;
  info.n_page = after.meta.n_page;
  info.bytes_written = after.place.length_bytes;
  for (const PendingRecord& record : records) {
    info.bytes_written += record.header.length_bytes;
    const bool is_coded = record.header.kind == RecordKind::page;
    (is_coded ? info.coded_bytes : info.raw_bytes) += record.header.payload_bytes;
    counters_.written_bytes += record.header.length_bytes;
  }
  ++counters_.n_commit;
  used_at_s_[session] = after.meta.committed_at_s;
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
  // Headers are in the clear: under a family's key they tell nothing once it is destroyed.
  KVAULT_TRY(const std::optional<SessionKey> family, key_of_family(before.family));
  const NamespaceKey secret = family ? page_secret(family->key) : parts_.key;
  for (PendingRecord& record : records) {
    if (record.header.kind != RecordKind::page) break;
    record.header.parent_key = parent;
    record.header.key = page_key(secret, parent, identity, record.draft);
    parent = record.header.key;
  }
  return {};
}

/// pre: set_page_keys() was called, and pages follow those that `after` has digests of.
void DiskStore::set_page_digests(std::vector<PendingRecord>& records, SessionState& after) {
  for (const PendingRecord& record : records) {
    if (record.header.kind != RecordKind::page) break;
    const std::uint64_t first = record.header.first_token;
    std::optional<PrefixKey> parent = after.root_prefix;
    if (first > 0) parent = after.page_digests[first - kPageTokens].prefix;
    after.page_digests[first] = {next_prefix(parts_.key, parent, record.draft.meta.token_ids),
                                 content_key(parts_.key, record.header.key, record.draft.meta)};
  }
}

/// Names the page that was here before instead of a new one with the same key and payload, so that
/// the new bytes are dead from the start; returns how many. The old ones are read first: a page
/// that is whole is never given up for one that is damaged.
Result<std::uint64_t> DiskStore::share_known_pages(SessionState& after) {
  std::uint64_t bytes = 0;
  for (LiveRecord& live : after.meta.records) {
    if (live.kind != RecordKind::page || live.transaction != after.place.transaction) continue;
    KVAULT_TRY(const auto known,
               catalog().find_content(after.page_digests[live.first_token].content));
    if (!known || known->first_token != live.first_token) continue;
    if (!verify_live_record(packs(), *known)) continue;
    live = *known;
    bytes += live.length_bytes;
  }
  return bytes;
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

Result<> DiskStore::write_commits(std::span<SessionState> states, std::set<PackName> touched) {
  std::vector<LogEntry> entries;
  entries.reserve(states.size());
  for (const SessionState& state : states) {
    LogEntry& entry = entries.emplace_back(LogEntry{.header = {.kind = RecordKind::commit}});
    entry.header.session = state.id;
    entry.header.commit_number = state.commit_number;
    entry.header.transaction = state.place.transaction;
    KVAULT_TRY(entry.meta, serialise_commit_meta(state.meta));
    KVAULT_TRY(const std::optional<SessionKey> key, key_of_family(state.family));
    if (key) entry.meta = seal_meta(entry.header, *key, entry.meta);
  }
  KVAULT_CHECK(write_log(entries, std::move(touched)));
  for (std::size_t i = 0; i < states.size(); ++i) states[i].place = entries[i].place;
  return {};
}

Result<> DiskStore::write_log(std::span<LogEntry> entries, std::set<PackName> touched) {
  std::vector<PackRoom> rooms;
  const auto attempt = [&]() -> Result<> {
    std::set<PackName> logs;
    for (LogEntry& entry : entries) {
      place_payload(entry.header, entry.meta.size(), 0);
      KVAULT_TRY(const PackRoom room, packs().reserve(PackKind::log, entry.header.length_bytes));
      rooms.push_back(room);
      logs.insert(room.pack);
    }
    for (const PackName pack : touched) {
      if (!logs.contains(pack)) KVAULT_CHECK(packs().sync(pack, StoreStep::sync_pack));
    }
    for (std::size_t i = 0; i < rooms.size(); ++i) {
      RecordHeader& header = entries[i].header;
      header.pack_id = rooms[i].pack_id;
      std::vector<std::byte> bytes = serialise_head(header, entries[i].meta);
      bytes.resize(header.length_bytes);
      KVAULT_CHECK(
          packs().write(rooms[i].pack, rooms[i].offset_bytes, bytes, StoreStep::write_commit));
      entries[i].place = {.pack_number = rooms[i].pack.number,
                          .offset_bytes = rooms[i].offset_bytes,
                          .length_bytes = header.length_bytes,
                          .transaction = header.transaction,
                          .checksum = header.checksum};
      counters_.written_bytes += header.length_bytes;
    }
    for (const PackName pack : logs) KVAULT_CHECK(packs().sync(pack, StoreStep::sync_commit));
    return {};
  };
  const Result<> done = attempt();
  for (const PackRoom& room : rooms) packs().release(room);
  return done;
}

}  // namespace kvault
