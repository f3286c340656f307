#include "daemon/store.hpp"

#include <sodium.h>

#include <algorithm>

#include "daemon/catalog_check.hpp"
#include "daemon/clock.hpp"
#include "daemon/disk_store.hpp"
#include "daemon/rebuild.hpp"

namespace kvault {
namespace {

constexpr std::uint64_t kVerifyBatch = 256;

SessionInfo info_of(const SessionRow& row) {
  return {.id = row.id,
          .name = row.name,
          .commit_number = row.commit_number,
          .n_token = row.n_token,
          .n_page = row.n_page,
          .live_bytes = row.record_bytes + row.place.length_bytes,
          .created_at_s = row.created_at_s,
          .committed_at_s = row.committed_at_s};
}

SessionInfo info_of(const SessionState& state) {
  SessionInfo info{.id = state.id,
                   .name = state.meta.description.name,
                   .commit_number = state.commit_number,
                   .n_token = state.meta.n_token,
                   .n_page = state.meta.n_page,
                   .live_bytes = state.place.length_bytes,
                   .created_at_s = state.meta.created_at_s,
                   .committed_at_s = state.meta.committed_at_s};
  for (const LiveRecord& record : state.meta.records) info.live_bytes += record.length_bytes;
  return info;
}

}  // namespace

DiskStore::DiskStore(Parts parts)
    : parts_(std::move(parts)), next_transaction_(first_transaction_of(parts_.epoch)) {}

Result<> DiskStore::before_catalog() const {
  const StoreOptions& options = parts_.options;
  if (!options.on_step) return {};
  return options.on_step(StoreStep::update_catalog, options.directory / kCatalogFile);
}

// --- sessions ------------------------------------------------------------------------------------

Result<SessionInfo> DiskStore::create_session(const SessionDescription& description) {
  KVAULT_CHECK(check_description(description));
  KVAULT_TRY(const auto existing, catalog().find_by_name(description.name));
  if (existing) {
    return fail(Errc::already_exists, message("a session called '", description.name,
                                              "' exists: ", to_hex(existing->id)));
  }
  SessionState state;
  randombytes_buf(state.id.bytes.data(), state.id.bytes.size());
  state.meta.description = description;
  state.meta.created_at_s = state.meta.committed_at_s = seconds_since_1970();
  KVAULT_TRY(const std::vector<std::byte> meta, serialise_commit_meta(state.meta));
  RecordHeader header{.kind = RecordKind::commit, .transaction = next_transaction_++};
  header.session = state.id;
  KVAULT_TRY(state.place, write_commit(header, meta, {}));
  KVAULT_CHECK(before_catalog());
  KVAULT_CHECK(catalog().insert(state));
  return info_of(state);
}

Result<SessionInfo> DiskStore::find_session(const SessionId& id) {
  KVAULT_TRY(const auto row, catalog().find(id));
  if (!row) return fail(Errc::not_found, message("there is no session ", to_hex(id)));
  return info_of(*row);
}

Result<SessionInfo> DiskStore::find_session_by_name(std::string_view name) {
  KVAULT_CHECK(check_session_name(name));
  KVAULT_TRY(const auto row, catalog().find_by_name(name));
  if (!row) return fail(Errc::not_found, message("there is no session called '", name, "'"));
  return info_of(*row);
}

Result<std::vector<SessionInfo>> DiskStore::list_sessions(std::string_view after_name,
                                                          std::uint32_t limit) {
  KVAULT_TRY(const std::vector<SessionRow> rows, catalog().list(after_name, limit));
  std::vector<SessionInfo> infos;
  infos.reserve(rows.size());
  for (const SessionRow& row : rows) infos.push_back(info_of(row));
  return infos;
}

Result<> DiskStore::remove_session(const SessionId& id) {
  KVAULT_TRY(const auto row, catalog().find(id));
  if (!row) return fail(Errc::not_found, message("there is no session ", to_hex(id)));
  for (auto record = pending_.begin(); record != pending_.end();) {
    const auto next = std::next(record);
    if (record->second.session == id) drop_pending(record);
    record = next;
  }
  RecordHeader header{.kind = RecordKind::tombstone, .transaction = next_transaction_++};
  header.session = id;
  header.commit_number = row->commit_number + 1;
  KVAULT_CHECK(write_commit(header, {}, {}));
  KVAULT_CHECK(before_catalog());
  KVAULT_CHECK(catalog().remove(id));
  descriptions_.erase(id);
  return {};
}

Result<const SessionDescription*> DiskStore::description_of(const SessionId& id) {
  auto known = descriptions_.find(id);
  if (known == descriptions_.end()) {
    KVAULT_TRY(SessionDescription description, catalog().description(id));
    known = descriptions_.emplace(id, std::move(description)).first;
  }
  return &known->second;
}

// --- records -------------------------------------------------------------------------------------

Result<RecordHandle> DiskStore::begin_record(const SessionId& session, RecordDraft draft) {
  KVAULT_TRY(const SessionDescription* description, description_of(session));
  KVAULT_CHECK(check_draft(description->shape, draft));
  if (pending_.size() >= parts_.options.n_pending_record_max) {
    return fail(Errc::limit_exceeded, message(pending_.size(), " records are begun and neither ",
                                              "committed nor aborted; that is the limit"));
  }
  PendingRecord record;
  record.session = session;
  record.header.kind = draft.kind;
  record.header.session = session;
  record.header.first_token = draft.first_token;
  record.header.n_token = draft.n_token;
  record.header.n_chunk = static_cast<std::uint32_t>(draft.meta.chunks.size());
  record.meta = serialise_payload_meta(draft.meta);
  place_payload(record.header, record.meta.size(), draft.payload_bytes);
  const PackKind kind = draft.kind == RecordKind::page ? PackKind::pages : PackKind::log;
  KVAULT_TRY(record.room, packs().reserve(kind, record.header.length_bytes));
  record.header.pack_id = record.room.pack_id;
  record.draft = std::move(draft);
  const RecordHandle handle{next_handle_++};
  pending_.emplace(handle, std::move(record));
  return handle;
}

Result<DiskStore::Pending::iterator> DiskStore::find_pending(RecordHandle handle) {
  const auto record = pending_.find(handle);
  if (record == pending_.end()) {
    return fail(Errc::not_found, message("there is no pending record ", handle.raw));
  }
  return record;
}

void DiskStore::drop_pending(Pending::iterator record) {
  packs().release(record->second.room);
  pending_.erase(record);
}

Result<> DiskStore::write_payload(RecordHandle handle, std::uint64_t offset_bytes,
                                  std::span<const std::byte> bytes) {
  KVAULT_TRY(const auto found, find_pending(handle));
  PendingRecord& record = found->second;
  const std::uint64_t received = record.check.received_bytes();
  const std::uint64_t payload_bytes = record.draft.payload_bytes;
  Result<> done;
  if (record.is_finished || offset_bytes != received || bytes.size() > payload_bytes - received) {
    done = fail(Errc::out_of_range,
                message(bytes.size(), " bytes at ", offset_bytes, " of a payload of ",
                        payload_bytes, ", of which ", received, " are here"));
  } else {
    done = record.check.update(record.draft.meta.chunks, bytes);
    const std::uint64_t begin =
        record.room.offset_bytes + record.header.payload_offset + offset_bytes;
    if (done) done = packs().write(record.room.pack, begin, bytes, StoreStep::write_payload);
  }
  if (!done) drop_pending(found);
  return done;
}

Result<> DiskStore::finish_record(RecordHandle handle) {
  KVAULT_TRY(const auto found, find_pending(handle));
  PendingRecord& record = found->second;
  const std::uint64_t received = record.check.received_bytes();
  if (received != record.draft.payload_bytes) {
    const std::uint64_t payload_bytes = record.draft.payload_bytes;
    drop_pending(found);
    return fail(Errc::incomplete,
                message(received, " of ", payload_bytes, " bytes of a payload are here"));
  }
  record.is_finished = true;
  return {};
}

Result<> DiskStore::abort_record(RecordHandle handle) {
  KVAULT_TRY(const auto found, find_pending(handle));
  drop_pending(found);
  return {};
}

// --- reading -------------------------------------------------------------------------------------

Result<Attachment> DiskStore::attach(const SessionId& session) {
  KVAULT_TRY(SessionState state, catalog().load(session));
  Attachment attachment{
      .info = info_of(state), .description = std::move(state.meta.description), .records = {}};
  attachment.records.reserve(state.meta.records.size());
  for (const LiveRecord& live : state.meta.records) {
    attachment.records.push_back({.kind = live.kind,
                                  .pack_path = packs().path_of({live.pack_kind, live.pack_number}),
                                  .offset_bytes = live.offset_bytes,
                                  .length_bytes = live.length_bytes,
                                  .first_token = live.first_token,
                                  .n_token = live.n_token,
                                  .checksum = live.checksum});
  }
  return attachment;
}

Result<StoreStats> DiskStore::stats() {
  KVAULT_TRY(const CatalogTotals totals, catalog().totals());
  return StoreStats{.n_session = totals.n_session,
                    .n_record = totals.n_record,
                    .n_pending_record = pending_.size(),
                    .n_pack = packs().entries().size(),
                    .live_bytes = totals.live_bytes,
                    .pack_bytes = packs().total_bytes()};
}

void DiskStore::verify_session(const SessionState& state, VerifyReport& report) {
  const auto note = [&](std::string_view what, const Error& error) {
    report.damage.push_back(
        message("session '", state.meta.description.name, "', ", what, ": ", error.message));
  };
  ++report.n_session;
  CommitMeta meta;
  const Result<RecordHeader> commit = verify_commit_record(packs(), state.id, state.place, meta);
  if (!commit) {
    note("commit record", commit.error());
  } else if (const std::string difference = disagreement(state, *commit, meta);
             !difference.empty()) {
    note("commit record", Error{Errc::corrupt, difference});
  }
  report.bytes += state.place.length_bytes;
  for (const LiveRecord& live : state.meta.records) {
    const Result<RecordHeader> header = verify_live_record(packs(), state.id, live);
    if (!header) {
      note(message(name_of(live.kind), " of token ", live.first_token), header.error());
    }
    ++report.n_record;
    report.bytes += live.length_bytes;
  }
}

Result<> DiskStore::verify_pack_headers(VerifyReport& report) {
  KVAULT_TRY(const std::vector<PackUse> uses, catalog().pack_uses());
  for (const PackUse& use : uses) {
    if (const Result<> checked = packs().check_header(use.name); !checked) {
      report.damage.push_back(message(file_name_of(use.name), ": ", checked.error().message));
    }
  }
  return {};
}

Result<VerifyReport> DiskStore::verify(const std::optional<SessionId>& session) {
  VerifyReport report;
  if (session) {
    KVAULT_TRY(const SessionState state, catalog().load(*session));
    verify_session(state, report);
    return report;
  }
  KVAULT_CHECK(verify_pack_headers(report));
  std::string after_name;
  for (;;) {
    KVAULT_TRY(const std::vector<SessionRow> rows, catalog().list(after_name, kVerifyBatch));
    for (const SessionRow& row : rows) {
      KVAULT_TRY(const SessionState state, catalog().load(row.id));
      verify_session(state, report);
    }
    if (rows.size() < kVerifyBatch) return report;
    after_name = rows.back().name;
  }
}

}  // namespace kvault
