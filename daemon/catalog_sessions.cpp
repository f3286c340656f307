#include <algorithm>

#include "daemon/catalog.hpp"

namespace kvault {
namespace {

constexpr std::string_view kSelectRow = R"(
SELECT id, name, commit_number, n_token, n_page, created_at_s, committed_at_s, last_used_at_s,
       attributes, root_prefix, pack_number, offset_bytes, length_bytes, transaction_number,
       checksum,
       (SELECT coalesce(sum(length_bytes), 0) FROM record WHERE record.session = session.id),
       (SELECT count(*) FROM record WHERE record.session = session.id), family, description
FROM session )";

Result<SessionId> id_from(std::span<const std::byte> blob) {
  SessionId id;
  if (blob.size() != id.bytes.size()) {
    return fail(Errc::corrupt, message("catalog: a session id of ", blob.size(), " bytes"));
  }
  std::copy(blob.begin(), blob.end(), id.bytes.begin());
  return id;
}

Result<SessionAttributes> attributes_from(std::span<const std::byte> blob) {
  ByteReader reader(blob);
  return take_attributes(reader);
}

}  // namespace

Result<SessionRow> Catalog::row_from(const sqlite::Statement& statement) const {
  SessionRow row;
  KVAULT_TRY(row.id, id_from(statement.blob(0)));
  KVAULT_TRY(row.family, id_from(statement.blob(17)));
  row.name = statement.text(1);
  if (seal_.is_sealing()) {
    KVAULT_TRY(const auto description, seal_.unseal(row.family, statement.blob(18)));
    KVAULT_TRY(SessionDescription described, parse_description(description));
    row.name = std::move(described.name);
  }
  row.commit_number = statement.number(2);
  row.n_token = statement.number(3);
  row.n_page = statement.number(4);
  row.created_at_s = statement.number(5);
  row.committed_at_s = statement.number(6);
  row.last_used_at_s = statement.number(7);
  KVAULT_TRY(const auto attributes, seal_.unseal(row.family, statement.blob(8)));
  KVAULT_TRY(row.attributes, attributes_from(attributes));
  const std::span<const std::byte> root = statement.blob(9);
  if (root.size() != row.root_prefix.size()) {
    return fail(Errc::corrupt, message("catalog: a root prefix of ", root.size(), " bytes"));
  }
  std::copy(root.begin(), root.end(), row.root_prefix.begin());
  row.place = {.pack_number = static_cast<std::uint32_t>(statement.number(10)),
               .offset_bytes = statement.number(11),
               .length_bytes = statement.number(12),
               .transaction = statement.number(13),
               .checksum = statement.number(14)};
  row.record_bytes = statement.number(15);
  row.n_record = statement.number(16);
  return row;
}

/// The rest of a statement of kSelectRow.
Result<std::vector<SessionRow>> Catalog::all_rows(sqlite::Statement& statement) const {
  std::vector<SessionRow> rows;
  for (;;) {
    KVAULT_TRY(const bool found, statement.next());
    if (!found) return rows;
    KVAULT_TRY(SessionRow row, row_from(statement));
    rows.push_back(std::move(row));
  }
}

Result<std::optional<SessionRow>> Catalog::one_row(sqlite::Statement& statement) const {
  KVAULT_TRY(std::vector<SessionRow> rows, all_rows(statement));
  if (rows.empty()) return std::optional<SessionRow>();
  return std::optional<SessionRow>(std::move(rows.front()));
}

namespace {

/// The rest of a statement whose only column is a session's id.
Result<std::vector<SessionId>> all_ids(sqlite::Statement& statement) {
  std::vector<SessionId> ids;
  for (;;) {
    KVAULT_TRY(const bool found, statement.next());
    if (!found) return ids;
    KVAULT_TRY(const SessionId id, id_from(statement.blob(0)));
    ids.push_back(id);
  }
}

}  // namespace

Result<> Catalog::put_session(const SessionState& session) {
  KVAULT_TRY(std::vector<std::byte> description, serialise_description(session.meta.description));
  KVAULT_TRY(description, seal_.seal(session.family, description));
  std::vector<std::byte> attributes;
  ByteWriter writer(attributes);
  put_attributes(writer, session.meta.attributes);
  KVAULT_TRY(attributes, seal_.seal(session.family, attributes));
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare(
                 "INSERT INTO session VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) "
                 "ON CONFLICT (id) DO UPDATE SET name=excluded.name, "
                 "description=excluded.description, commit_number=excluded.commit_number, "
                 "n_token=excluded.n_token, n_page=excluded.n_page, "
                 "committed_at_s=excluded.committed_at_s, "
                 "last_used_at_s=max(last_used_at_s, excluded.last_used_at_s), "
                 "attributes=excluded.attributes, expires_at_s=excluded.expires_at_s, "
                 "root_prefix=excluded.root_prefix, "
                 "pack_number=excluded.pack_number, offset_bytes=excluded.offset_bytes, "
                 "length_bytes=excluded.length_bytes, "
                 "transaction_number=excluded.transaction_number, checksum=excluded.checksum"));
  return statement.bind(0, session.id.bytes)
      .bind(1, session.family.bytes)
      .bind(2, seal_.name_column(session.meta.description.name))
      .bind(3, description)
      .bind(4, session.commit_number)
      .bind(5, session.meta.n_token)
      .bind(6, session.meta.n_page)
      .bind(7, session.meta.created_at_s)
      .bind(8, session.meta.committed_at_s)
      .bind(9, session.meta.committed_at_s)
      .bind(10, attributes)
      .bind(11, session.meta.attributes.expires_at_s)
      .bind(12, session.root_prefix)
      .bind(13, session.place.pack_number)
      .bind(14, session.place.offset_bytes)
      .bind(15, session.place.length_bytes)
      .bind(16, session.place.transaction)
      .bind(17, session.place.checksum)
      .run();
}

Result<> Catalog::insert(const SessionState& session) {
  KVAULT_TRY(sqlite::Transaction transaction, sqlite::Transaction::begin(database_));
  KVAULT_CHECK(put_session(session));
  KVAULT_CHECK(put_records(session));
  return transaction.commit();
}

Result<> Catalog::update(const std::vector<SessionState>& sessions) {
  KVAULT_TRY(sqlite::Transaction transaction, sqlite::Transaction::begin(database_));
  for (const SessionState& session : sessions) {
    KVAULT_CHECK(put_session(session));
    KVAULT_CHECK(drop_other_records(session));
    KVAULT_CHECK(put_records(session));
  }
  return transaction.commit();
}

Result<> Catalog::remove(const SessionId& id) {
  KVAULT_TRY(sqlite::Transaction transaction, sqlite::Transaction::begin(database_));
  if (seal_.is_sealing()) {
    KVAULT_TRY(sqlite::Statement doom,
               database_.prepare("INSERT OR IGNORE INTO doomed_key SELECT family FROM session "
                                 "WHERE id = ? AND (SELECT count(*) FROM session AS member "
                                 "WHERE member.family = session.family) = 1"));
    KVAULT_CHECK(doom.bind(0, id.bytes).run());
  }
  KVAULT_TRY(sqlite::Statement statement, database_.prepare("DELETE FROM session WHERE id = ?"));
  KVAULT_CHECK(statement.bind(0, id.bytes).run());
  return transaction.commit();
}

Result<std::vector<SessionId>> Catalog::doomed_keys() {
  KVAULT_TRY(sqlite::Statement statement, database_.prepare("SELECT family FROM doomed_key"));
  return all_ids(statement);
}

Result<> Catalog::forget_key(const SessionId& family) {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare("DELETE FROM doomed_key WHERE family = ?"));
  return statement.bind(0, family.bytes).run();
}

Result<> Catalog::touch(const std::map<SessionId, std::uint64_t>& used_at_s) {
  KVAULT_TRY(sqlite::Transaction transaction, sqlite::Transaction::begin(database_));
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare("UPDATE session SET last_used_at_s = max(last_used_at_s, ?) "
                               "WHERE id = ?"));
  for (const auto& [id, at_s] : used_at_s) {
    KVAULT_CHECK(statement.bind(0, at_s).bind(1, id.bytes).run());
  }
  return transaction.commit();
}

Result<std::optional<SessionRow>> Catalog::find(const SessionId& id) {
  KVAULT_TRY(sqlite::Statement statement, database_.prepare(message(kSelectRow, "WHERE id = ?")));
  statement.bind(0, id.bytes);
  return one_row(statement);
}

Result<std::optional<SessionRow>> Catalog::find_by_name(std::string_view name) {
  KVAULT_TRY(sqlite::Statement statement, database_.prepare(message(kSelectRow, "WHERE name = ?")));
  statement.bind(0, seal_.name_column(name));
  return one_row(statement);
}

Result<std::vector<SessionRow>> Catalog::list(std::string_view after_name, std::uint64_t limit) {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare(message(kSelectRow, "WHERE name > ? ORDER BY name LIMIT ?")));
  statement.bind(0, seal_.name_column(after_name)).bind(1, limit);
  return all_rows(statement);
}

Result<std::vector<SessionRow>> Catalog::list_by_use() {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare(message(kSelectRow, "ORDER BY last_used_at_s, id")));
  return all_rows(statement);
}

Result<std::vector<SessionId>> Catalog::expired(std::uint64_t now_s) {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare("SELECT id FROM session WHERE expires_at_s > 0 AND "
                               "expires_at_s <= ?"));
  statement.bind(0, now_s);
  return all_ids(statement);
}

Result<SessionDescription> Catalog::description(const SessionId& id) {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare("SELECT family, description FROM session WHERE id = ?"));
  KVAULT_TRY(const bool found, statement.bind(0, id.bytes).next());
  if (!found) return fail(Errc::not_found, message("there is no session ", to_hex(id)));
  KVAULT_TRY(const SessionId family, id_from(statement.blob(0)));
  KVAULT_TRY(const auto description, seal_.unseal(family, statement.blob(1)));
  return parse_description(description);
}

Result<SessionId> Catalog::family(const SessionId& id) {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare("SELECT family FROM session WHERE id = ?"));
  KVAULT_TRY(const bool found, statement.bind(0, id.bytes).next());
  if (!found) return fail(Errc::not_found, message("there is no session ", to_hex(id)));
  return id_from(statement.blob(0));
}

Result<std::uint64_t> Catalog::n_session_of_family(const SessionId& family) {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare("SELECT count(*) FROM session WHERE family = ?"));
  KVAULT_CHECK(statement.bind(0, family.bytes).next());
  return statement.number(0);
}

Result<std::vector<SessionId>> Catalog::sessions_with_prefix(const PrefixKey& prefix,
                                                             std::uint64_t limit) {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare("SELECT id FROM session WHERE id IN "
                               "(SELECT session FROM record WHERE prefix = ?) "
                               "ORDER BY last_used_at_s DESC, id LIMIT ?"));
  statement.bind(0, prefix).bind(1, limit);
  return all_ids(statement);
}

Result<std::vector<SessionId>> Catalog::sessions_without_pages(const PrefixKey& root,
                                                               std::uint64_t limit) {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare("SELECT id FROM session WHERE root_prefix = ? AND n_page = 0 "
                               "ORDER BY last_used_at_s DESC, id LIMIT ?"));
  statement.bind(0, root).bind(1, limit);
  return all_ids(statement);
}

Result<std::vector<SessionId>> Catalog::sessions_in_pack(PackName pack) {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare("SELECT session FROM record WHERE pack_kind = ? AND pack_number = ? "
                               "UNION SELECT id FROM session WHERE ? = 0 AND pack_number = ?"));
  const auto kind = static_cast<std::uint64_t>(pack.kind);
  statement.bind(0, kind).bind(1, pack.number).bind(2, kind).bind(3, pack.number);
  return all_ids(statement);
}

}  // namespace kvault
