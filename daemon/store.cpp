#include "daemon/store.hpp"

#include <sodium.h>

#include <algorithm>
#include <system_error>

#include "daemon/clock.hpp"
#include "daemon/disk_store.hpp"
#include "daemon/rebuild.hpp"

namespace kvault {
namespace {

SessionInfo info_from(const SessionRow& row) {
  return {.id = row.id,
          .name = row.name,
          .commit_number = row.commit_number,
          .n_token = row.n_token,
          .n_page = row.n_page,
          .live_bytes = row.record_bytes + row.place.length_bytes,
          .created_at_s = row.created_at_s,
          .committed_at_s = row.committed_at_s,
          .last_used_at_s = row.last_used_at_s,
          .n_record = row.n_record,
          .attributes = row.attributes};
}

}  // namespace

DiskStore::DiskStore(Parts parts)
    : parts_(std::move(parts)), next_transaction_(first_transaction_of(parts_.epoch)) {}

DiskStore::~DiskStore() {
  // When sessions were last used is worth keeping, but nobody was promised it.
  static_cast<void>(save_uses().has_value());
}

Result<> DiskStore::before_catalog() const {
  const StoreOptions& options = parts_.options;
  if (!options.on_step) return {};
  return options.on_step(StoreStep::update_catalog, options.directory / kCatalogFile);
}

SessionInfo DiskStore::info_of(const SessionRow& row) const {
  SessionInfo info = info_from(row);
  const auto used = used_at_s_.find(row.id);
  if (used != used_at_s_.end()) info.last_used_at_s = std::max(info.last_used_at_s, used->second);
  return info;
}

Result<PrefixKey> DiskStore::root_prefix_of(const SessionDescription& description) const {
  KVAULT_TRY(const std::vector<std::byte> identity, serialise_identity(description));
  return root_prefix(parts_.key, identity);
}

Result<> DiskStore::require_name_is_free(std::string_view name) {
  KVAULT_TRY(const auto existing, catalog().find_by_name(name));
  if (!existing) return {};
  return fail(Errc::already_exists,
              message("a session called '", name, "' exists: ", to_hex(existing->id)));
}

Result<std::optional<SessionInfo>> DiskStore::made_before(std::string_view name,
                                                          const RequestKey& request_key) {
  if (request_key != RequestKey()) {
    KVAULT_TRY(const auto row, catalog().find_by_name(name));
    if (row && row->attributes.made_by == request_key) return std::optional(info_of(*row));
  }
  KVAULT_CHECK(require_name_is_free(name));
  return std::optional<SessionInfo>();
}

Result<SessionInfo> DiskStore::create_session(const SessionDescription& description,
                                              const RequestKey& request_key) {
  KVAULT_CHECK(check_description(description));
  KVAULT_TRY(const auto made, made_before(description.name, request_key));
  if (made) return *made;
  SessionState state;
  state.meta.attributes.made_by = request_key;
  randombytes_buf(state.id.bytes.data(), state.id.bytes.size());
  if (parts_.keys) {
    KVAULT_CHECK(parts_.keys->create(state.id));
    state.family = state.id;
  }
  state.meta.description = description;
  state.meta.created_at_s = state.meta.committed_at_s = seconds_since_1970();
  KVAULT_TRY(state.root_prefix, root_prefix_of(description));
  state.place.transaction = next_transaction_++;
  KVAULT_CHECK(write_commits({&state, 1}, {}));
  KVAULT_CHECK(before_catalog());
  KVAULT_CHECK(catalog().insert(state));
  return find_session(state.id);
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

Result<DescribedSession> DiskStore::describe(SessionInfo info) {
  KVAULT_TRY(const SessionDescription* description, description_of(info.id));
  return DescribedSession{std::move(info), *description};
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
  LogEntry tombstone{.header = {.kind = RecordKind::tombstone}};
  tombstone.header.session = id;
  tombstone.header.commit_number = row->commit_number + 1;
  tombstone.header.transaction = next_transaction_++;
  KVAULT_CHECK(write_log({&tombstone, 1}, {}));
  KVAULT_CHECK(before_catalog());
  KVAULT_CHECK(catalog().remove(id));
  descriptions_.erase(id);
  used_at_s_.erase(id);
  // The session is gone either way; what fails here is tried again by whoever comes next.
  static_cast<void>(destroy_doomed_keys().has_value());
  return {};
}

Result<> DiskStore::destroy_doomed_keys() {
  if (!parts_.keys) return {};
  KVAULT_TRY(const std::vector<SessionId> families, catalog().doomed_keys());
  for (const SessionId& family : families) {
    KVAULT_CHECK(parts_.keys->destroy(family));
    KVAULT_CHECK(catalog().forget_key(family));
  }
  return {};
}

Result<> DiskStore::destroy_session(const SessionId& id) {
  if (!parts_.keys) {
    return fail(Errc::unsupported,
                "only sessions of an encrypted namespace can be destroyed: their key is");
  }
  KVAULT_TRY(const auto row, catalog().find(id));
  if (!row) {
    // Perhaps one that is gone, and whose key could not be destroyed then.
    KVAULT_TRY(const std::vector<SessionId> doomed, catalog().doomed_keys());
    KVAULT_CHECK(destroy_doomed_keys());
    if (std::find(doomed.begin(), doomed.end(), id) != doomed.end()) return {};
    return fail(Errc::not_found, message("there is no session ", to_hex(id)));
  }
  KVAULT_TRY(const std::uint64_t n_session, catalog().n_session_of_family(row->family));
  if (n_session > 1) {
    return fail(Errc::busy, message("session ", to_hex(id), " shares its key with ", n_session - 1,
                                    " others, forks of the same chat; they must go first"));
  }
  KVAULT_CHECK(remove_session(id));
  return destroy_doomed_keys();
}

Result<std::optional<SessionKey>> DiskStore::key_of_family(const SessionId& family) const {
  if (!parts_.keys) return std::optional<SessionKey>();
  KVAULT_TRY(const SecretKey* key, parts_.keys->find(family));
  return std::optional<SessionKey>(SessionKey{family, *key});
}

Result<std::optional<SessionKey>> DiskStore::key_of(const SessionId& id) {
  KVAULT_TRY(const SessionId family, catalog().family(id));
  return key_of_family(family);
}

Result<SessionInfo> DiskStore::update_session(const SessionId& id, const SessionChange& change) {
  KVAULT_TRY(SessionState state, catalog().load(id));
  if (change.name && *change.name != state.meta.description.name) {
    KVAULT_CHECK(check_session_name(*change.name));
    KVAULT_CHECK(require_name_is_free(*change.name));
    state.meta.description.name = *change.name;
  }
  SessionAttributes& attributes = state.meta.attributes;
  if (change.labels) attributes.labels = *change.labels;
  if (change.is_pinned) attributes.is_pinned = *change.is_pinned;
  if (change.expires_at_s) attributes.expires_at_s = *change.expires_at_s;
  normalise(attributes);
  KVAULT_CHECK(check_attributes(attributes));
  state.place.transaction = next_transaction_++;
  KVAULT_CHECK(write_commits({&state, 1}, {}));
  KVAULT_CHECK(before_catalog());
  KVAULT_CHECK(catalog().update({state}));
  descriptions_.erase(id);
  return find_session(id);
}

Result<const SessionDescription*> DiskStore::description_of(const SessionId& id) {
  auto known = descriptions_.find(id);
  if (known == descriptions_.end()) {
    KVAULT_TRY(SessionDescription description, catalog().description(id));
    known = descriptions_.emplace(id, std::move(description)).first;
  }
  return &known->second;
}

Result<> DiskStore::hold(const SessionId& id) {
  KVAULT_TRY(const auto row, catalog().find(id));
  if (!row) return fail(Errc::not_found, message("there is no session ", to_hex(id)));
  ++holds_[id];
  used_at_s_[id] = seconds_since_1970();
  return {};
}

void DiskStore::release(const SessionId& id) {
  const auto held = holds_.find(id);
  if (held == holds_.end()) return;
  used_at_s_[id] = seconds_since_1970();
  if (--held->second == 0) holds_.erase(held);
}

Result<Attachment> DiskStore::attach(const SessionId& session) {
  KVAULT_TRY(const SessionInfo info, find_session(session));
  KVAULT_TRY(SessionState state, catalog().load(session));
  Attachment attachment{
      .info = info, .description = std::move(state.meta.description), .records = {}};
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
                    .pack_bytes = packs().total_bytes(),
                    .disk_bytes = disk_bytes(),
                    .quota_bytes = parts_.options.quota_bytes,
                    .counters = counters_};
}

}  // namespace kvault
