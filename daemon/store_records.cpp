#include <algorithm>

#include "core/format/sealed_record.hpp"
#include "daemon/disk_store.hpp"

namespace kvault {

Result<RecordHandle> DiskStore::begin_record(const SessionId& session, RecordDraft draft) {
  KVAULT_TRY(const SessionDescription* description, description_of(session));
  KVAULT_CHECK(check_draft(description->shape, draft, parts_.keys ? kSealBytes : 0));
  if (pending_.size() >= parts_.options.n_pending_record_max) {
    return fail(Errc::limit_exceeded, message(pending_.size(), " records are begun and neither ",
                                              "committed nor aborted; that is the limit"));
  }
  if (parts_.options.quota_bytes > 0) {
    // Not at the cost of the session that is written to.
    KVAULT_CHECK(hold(session));
    MaintainReport report;
    const Result<> made = make_room(draft.payload_bytes, report);
    release(session);
    KVAULT_CHECK(made);
  }
  PendingRecord record;
  record.session = session;
  record.header.kind = draft.kind;
  record.header.session = session;
  record.header.first_token = draft.first_token;
  record.header.n_token = draft.n_token;
  record.header.n_chunk = static_cast<std::uint32_t>(draft.meta.chunks.size());
  record.meta = serialise_payload_meta(draft.meta);
  KVAULT_TRY(const std::optional<SessionKey> key, key_of(session));
  if (key) record.meta = seal_meta(record.header, *key, record.meta);
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

}  // namespace kvault
