#include <algorithm>

#include "daemon/catalog.hpp"

namespace kvault {
namespace {

LiveRecord live_from(const sqlite::Statement& statement) {
  return {.kind = static_cast<RecordKind>(statement.number(0)),
          .pack_kind = static_cast<PackKind>(statement.number(1)),
          .pack_number = static_cast<std::uint32_t>(statement.number(2)),
          .offset_bytes = statement.number(3),
          .length_bytes = statement.number(4),
          .first_token = statement.number(5),
          .n_token = static_cast<std::uint32_t>(statement.number(6)),
          .transaction = statement.number(7),
          .checksum = statement.number(8)};
}

constexpr std::string_view kSelectLive =
    "SELECT kind, pack_kind, pack_number, offset_bytes, length_bytes, first_token, n_token, "
    "transaction_number, checksum, prefix, content FROM record ";

Result<std::array<std::byte, 16>> digest_from(std::span<const std::byte> blob) {
  std::array<std::byte, 16> digest;
  if (blob.size() != digest.size()) {
    return fail(Errc::corrupt, message("catalog: a digest of ", blob.size(), " bytes"));
  }
  std::copy(blob.begin(), blob.end(), digest.begin());
  return digest;
}

/// pre: the statement stands on a page's row of kSelectLive.
Result<PageDigest> page_digest_from(const sqlite::Statement& statement) {
  PageDigest digest;
  if (!statement.blob(9).empty()) {
    KVAULT_TRY(digest.prefix, digest_from(statement.blob(9)));
  }
  KVAULT_TRY(digest.content, digest_from(statement.blob(10)));
  return digest;
}

void bind_digest(sqlite::Statement& statement, const SessionState& session,
                 const LiveRecord& record) {
  if (record.kind != RecordKind::page) return;  // what is not bound is NULL
  const auto found = session.page_digests.find(record.first_token);
  if (found == session.page_digests.end()) return;
  if (found->second.prefix) statement.bind(10, *found->second.prefix);
  statement.bind(11, found->second.content);
}

}  // namespace

Result<> Catalog::put_records(const SessionState& session) {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare(
                 "INSERT INTO record VALUES (?,?,?,?,?,?,?,?,?,?,?,?) "
                 "ON CONFLICT (session, kind, first_token) DO UPDATE SET n_token=excluded.n_token, "
                 "pack_kind=excluded.pack_kind, pack_number=excluded.pack_number, "
                 "offset_bytes=excluded.offset_bytes, length_bytes=excluded.length_bytes, "
                 "transaction_number=excluded.transaction_number, checksum=excluded.checksum, "
                 "prefix=excluded.prefix, content=excluded.content "
                 "WHERE checksum <> excluded.checksum OR n_token <> excluded.n_token OR "
                 "offset_bytes <> excluded.offset_bytes OR pack_number <> excluded.pack_number"));
  for (const LiveRecord& record : session.meta.records) {
    statement.bind(0, session.id.bytes)
        .bind(1, static_cast<std::uint64_t>(record.kind))
        .bind(2, record.first_token)
        .bind(3, record.n_token)
        .bind(4, static_cast<std::uint64_t>(record.pack_kind))
        .bind(5, record.pack_number)
        .bind(6, record.offset_bytes)
        .bind(7, record.length_bytes)
        .bind(8, record.transaction)
        .bind(9, record.checksum);
    bind_digest(statement, session, record);
    KVAULT_CHECK(statement.run());
  }
  return {};
}

/// Rows of records that `session` names no more.
Result<> Catalog::drop_other_records(const SessionState& session) {
  KVAULT_TRY(const SessionState known, load(session.id));
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare("DELETE FROM record WHERE session = ? AND kind = ? AND "
                               "first_token = ?"));
  const auto key_of = [](const LiveRecord& r) { return std::pair(r.kind, r.first_token); };
  std::vector<std::pair<RecordKind, std::uint64_t>> kept;
  for (const LiveRecord& record : session.meta.records) kept.push_back(key_of(record));
  std::sort(kept.begin(), kept.end());
  for (const LiveRecord& record : known.meta.records) {
    if (std::binary_search(kept.begin(), kept.end(), key_of(record))) continue;
    KVAULT_CHECK(statement.bind(0, session.id.bytes)
                     .bind(1, static_cast<std::uint64_t>(record.kind))
                     .bind(2, record.first_token)
                     .run());
  }
  return {};
}

Result<SessionState> Catalog::load(const SessionId& id) {
  KVAULT_TRY(std::optional<SessionRow> row, find(id));
  if (!row) return fail(Errc::not_found, message("there is no session ", to_hex(id)));
  SessionState state{
      .id = id, .family = row->family, .commit_number = row->commit_number, .place = row->place};
  state.meta.n_token = row->n_token;
  state.meta.n_page = row->n_page;
  state.meta.created_at_s = row->created_at_s;
  state.meta.committed_at_s = row->committed_at_s;
  state.meta.attributes = std::move(row->attributes);
  state.root_prefix = row->root_prefix;
  KVAULT_TRY(state.meta.description, description(id));
  KVAULT_TRY(
      sqlite::Statement statement,
      database_.prepare(message(kSelectLive, "WHERE session = ? ORDER BY kind, first_token")));
  statement.bind(0, id.bytes);
  for (;;) {
    KVAULT_TRY(const bool found, statement.next());
    if (!found) return state;
    const LiveRecord live = live_from(statement);
    if (live.kind == RecordKind::page) {
      KVAULT_TRY(state.page_digests[live.first_token], page_digest_from(statement));
    }
    state.meta.records.push_back(live);
  }
}

Result<std::optional<LiveRecord>> Catalog::find_content(const ContentKey& content) {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare(message(kSelectLive, "WHERE content = ? LIMIT 1")));
  KVAULT_TRY(const bool found, statement.bind(0, content).next());
  if (!found) return std::optional<LiveRecord>();
  return std::optional<LiveRecord>(live_from(statement));
}

}  // namespace kvault
