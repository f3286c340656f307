#include "daemon/catalog.hpp"

#include <algorithm>
#include <map>
#include <tuple>

#include "daemon/wal_check.hpp"

namespace kvault {
namespace {

constexpr std::uint64_t kCatalogVersion = 1;

constexpr const char* kTables = R"(
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE session (
  id BLOB PRIMARY KEY, name TEXT NOT NULL UNIQUE, description BLOB NOT NULL,
  commit_number INTEGER NOT NULL, n_token INTEGER NOT NULL, n_page INTEGER NOT NULL,
  created_at_s INTEGER NOT NULL, committed_at_s INTEGER NOT NULL,
  pack_number INTEGER NOT NULL, offset_bytes INTEGER NOT NULL, length_bytes INTEGER NOT NULL,
  transaction_number INTEGER NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE record (
  pack_kind INTEGER NOT NULL, pack_number INTEGER NOT NULL, offset_bytes INTEGER NOT NULL,
  session BLOB NOT NULL REFERENCES session(id) ON DELETE CASCADE,
  kind INTEGER NOT NULL, length_bytes INTEGER NOT NULL, first_token INTEGER NOT NULL,
  n_token INTEGER NOT NULL, transaction_number INTEGER NOT NULL, checksum INTEGER NOT NULL,
  PRIMARY KEY (pack_kind, pack_number, offset_bytes)) WITHOUT ROWID;
CREATE INDEX record_of_session ON record (session, kind, first_token);
)";

constexpr std::string_view kSelectRow = R"(
SELECT id, name, commit_number, n_token, n_page, created_at_s, committed_at_s, pack_number,
       offset_bytes, length_bytes, transaction_number, checksum,
       (SELECT coalesce(sum(length_bytes), 0) FROM record WHERE record.session = session.id)
FROM session )";

Result<SessionId> id_from(std::span<const std::byte> blob) {
  SessionId id;
  if (blob.size() != id.bytes.size()) {
    return fail(Errc::corrupt, message("catalog: a session id of ", blob.size(), " bytes"));
  }
  std::copy(blob.begin(), blob.end(), id.bytes.begin());
  return id;
}

Result<SessionRow> row_from(const sqlite::Statement& statement) {
  SessionRow row;
  KVAULT_TRY(row.id, id_from(statement.blob(0)));
  row.name = statement.text(1);
  row.commit_number = statement.number(2);
  row.n_token = statement.number(3);
  row.n_page = statement.number(4);
  row.created_at_s = statement.number(5);
  row.committed_at_s = statement.number(6);
  row.place = {.pack_number = static_cast<std::uint32_t>(statement.number(7)),
               .offset_bytes = statement.number(8),
               .length_bytes = statement.number(9),
               .transaction = statement.number(10),
               .checksum = statement.number(11)};
  row.record_bytes = statement.number(12);
  return row;
}

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

Result<std::optional<SessionRow>> one_row(sqlite::Statement& statement) {
  KVAULT_TRY(const bool found, statement.next());
  if (!found) return std::optional<SessionRow>();
  KVAULT_TRY(SessionRow row, row_from(statement));
  return std::optional<SessionRow>(std::move(row));
}

/// The tables are those that fill() makes, to the letter: a constraint that names another table is
/// found by no integrity_check, and stops every later commit.
Result<> check_tables(sqlite::Database& database) {
  KVAULT_TRY(sqlite::Statement statement,
             database.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL"));
  std::size_t n_known = 0;
  for (;;) {
    KVAULT_TRY(const bool found, statement.next());
    if (!found) break;
    const std::string text = statement.text(0) + ";";
    if (std::string_view(kTables).find(text) == std::string_view::npos) {
      return fail(Errc::corrupt, "catalog: a table is not the one it should be");
    }
    ++n_known;
  }
  const std::string_view tables(kTables);
  const auto n_made = static_cast<std::size_t>(std::count(tables.begin(), tables.end(), ';'));
  if (n_known == n_made) return {};
  return fail(Errc::corrupt, message("catalog: ", n_known, " of ", n_made, " tables"));
}

Result<> put_meta(sqlite::Database& database, std::string_view name, std::uint64_t value) {
  KVAULT_TRY(sqlite::Statement statement,
             database.prepare("INSERT OR REPLACE INTO meta VALUES (?, ?)"));
  return statement.bind(0, name).bind(1, value).run();
}

Result<std::uint64_t> get_meta(sqlite::Database& database, std::string_view name) {
  KVAULT_TRY(sqlite::Statement statement,
             database.prepare("SELECT value FROM meta WHERE name = ?"));
  KVAULT_TRY(const bool found, statement.bind(0, name).next());
  if (!found) return fail(Errc::corrupt, message("catalog: the entry ", name, " is missing"));
  return statement.number(0);
}

using Place = std::tuple<PackKind, std::uint32_t, std::uint64_t>;

std::map<Place, const LiveRecord*> by_place(const std::vector<LiveRecord>& records) {
  std::map<Place, const LiveRecord*> places;
  for (const LiveRecord& record : records) {
    places[{record.pack_kind, record.pack_number, record.offset_bytes}] = &record;
  }
  return places;
}

}  // namespace

Result<Catalog> Catalog::open(const std::filesystem::path& path) {
  KVAULT_CHECK(check_wal(path.native() + "-wal"));
  KVAULT_TRY(sqlite::Database database, sqlite::Database::open(path));
  std::uint64_t version = 0;
  {
    KVAULT_TRY(sqlite::Statement statement, database.prepare("PRAGMA user_version"));
    KVAULT_CHECK(statement.next());
    version = statement.number(0);
  }
  if (version == 0) {
    KVAULT_TRY(sqlite::Statement statement, database.prepare("SELECT count(*) FROM sqlite_schema"));
    KVAULT_CHECK(statement.next());
    if (statement.number(0) == 0) return Catalog(std::move(database), true);
  }
  if (version != kCatalogVersion) {
    return fail(Errc::corrupt,
                message("catalog: version ", version, "; this build knows ", kCatalogVersion));
  }
  KVAULT_TRY(sqlite::Statement check, database.prepare("PRAGMA integrity_check(1)"));
  KVAULT_TRY(const bool has_answer, check.next());
  if (!has_answer || check.text(0) != "ok") {
    return fail(Errc::corrupt, message("catalog: ", check.text(0)));
  }
  KVAULT_CHECK(check_tables(database));
  return Catalog(std::move(database), false);
}

Result<> Catalog::fill(const std::vector<SessionState>& sessions, std::uint64_t epoch,
                       HeldPacks held) {
  KVAULT_TRY(sqlite::Transaction transaction, sqlite::Transaction::begin(database_));
  KVAULT_CHECK(database_.run(kTables));
  for (const SessionState& session : sessions) KVAULT_CHECK(put_session(session));
  KVAULT_CHECK(put_meta(database_, "epoch", epoch));
  KVAULT_CHECK(put_meta(database_, "held_log_number", held.log_number));
  KVAULT_CHECK(put_meta(database_, "held_pages_number", held.pages_number));
  KVAULT_CHECK(database_.run(message("PRAGMA user_version=", kCatalogVersion)));
  KVAULT_CHECK(transaction.commit());
  is_empty_ = false;
  return {};
}

Result<std::uint64_t> Catalog::begin_epoch() {
  KVAULT_TRY(const std::uint64_t epoch, get_meta(database_, "epoch"));
  KVAULT_CHECK(put_meta(database_, "epoch", epoch + 1));
  return epoch + 1;
}

Result<std::uint64_t> Catalog::epoch() { return get_meta(database_, "epoch"); }

Result<HeldPacks> Catalog::held_packs() {
  KVAULT_TRY(const std::uint64_t log_number, get_meta(database_, "held_log_number"));
  KVAULT_TRY(const std::uint64_t pages_number, get_meta(database_, "held_pages_number"));
  return HeldPacks{static_cast<std::uint32_t>(log_number),
                   static_cast<std::uint32_t>(pages_number)};
}

Result<> Catalog::put_session(const SessionState& session) {
  KVAULT_TRY(const std::vector<std::byte> description,
             serialise_description(session.meta.description));
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare("INSERT INTO session VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"));
  KVAULT_CHECK(statement.bind(0, session.id.bytes)
                   .bind(1, session.meta.description.name)
                   .bind(2, description)
                   .bind(3, session.commit_number)
                   .bind(4, session.meta.n_token)
                   .bind(5, session.meta.n_page)
                   .bind(6, session.meta.created_at_s)
                   .bind(7, session.meta.committed_at_s)
                   .bind(8, session.place.pack_number)
                   .bind(9, session.place.offset_bytes)
                   .bind(10, session.place.length_bytes)
                   .bind(11, session.place.transaction)
                   .bind(12, session.place.checksum)
                   .run());
  for (const LiveRecord& record : session.meta.records) {
    KVAULT_CHECK(put_record(session.id, record));
  }
  return {};
}

Result<> Catalog::put_record(const SessionId& id, const LiveRecord& record) {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare("INSERT INTO record VALUES (?,?,?,?,?,?,?,?,?,?)"));
  return statement.bind(0, static_cast<std::uint64_t>(record.pack_kind))
      .bind(1, record.pack_number)
      .bind(2, record.offset_bytes)
      .bind(3, id.bytes)
      .bind(4, static_cast<std::uint64_t>(record.kind))
      .bind(5, record.length_bytes)
      .bind(6, record.first_token)
      .bind(7, record.n_token)
      .bind(8, record.transaction)
      .bind(9, record.checksum)
      .run();
}

Result<> Catalog::drop_record(const LiveRecord& record) {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare("DELETE FROM record WHERE pack_kind = ? AND pack_number = ? AND "
                               "offset_bytes = ?"));
  return statement.bind(0, static_cast<std::uint64_t>(record.pack_kind))
      .bind(1, record.pack_number)
      .bind(2, record.offset_bytes)
      .run();
}

Result<> Catalog::insert(const SessionState& session) {
  KVAULT_TRY(sqlite::Transaction transaction, sqlite::Transaction::begin(database_));
  KVAULT_CHECK(put_session(session));
  return transaction.commit();
}

Result<> Catalog::update(const SessionState& before, const SessionState& after) {
  KVAULT_TRY(sqlite::Transaction transaction, sqlite::Transaction::begin(database_));
  const auto old_places = by_place(before.meta.records);
  const auto new_places = by_place(after.meta.records);
  for (const auto& [place, record] : old_places) {
    const auto kept = new_places.find(place);
    if (kept == new_places.end() || *kept->second != *record) KVAULT_CHECK(drop_record(*record));
  }
  for (const auto& [place, record] : new_places) {
    const auto known = old_places.find(place);
    if (known == old_places.end() || *known->second != *record) {
      KVAULT_CHECK(put_record(after.id, *record));
    }
  }
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare("UPDATE session SET commit_number=?, n_token=?, n_page=?, "
                               "committed_at_s=?, pack_number=?, offset_bytes=?, length_bytes=?, "
                               "transaction_number=?, checksum=? WHERE id=?"));
  KVAULT_CHECK(statement.bind(0, after.commit_number)
                   .bind(1, after.meta.n_token)
                   .bind(2, after.meta.n_page)
                   .bind(3, after.meta.committed_at_s)
                   .bind(4, after.place.pack_number)
                   .bind(5, after.place.offset_bytes)
                   .bind(6, after.place.length_bytes)
                   .bind(7, after.place.transaction)
                   .bind(8, after.place.checksum)
                   .bind(9, after.id.bytes)
                   .run());
  return transaction.commit();
}

Result<> Catalog::remove(const SessionId& id) {
  KVAULT_TRY(sqlite::Statement statement, database_.prepare("DELETE FROM session WHERE id = ?"));
  return statement.bind(0, id.bytes).run();
}

Result<std::optional<SessionRow>> Catalog::find(const SessionId& id) {
  KVAULT_TRY(sqlite::Statement statement, database_.prepare(message(kSelectRow, "WHERE id = ?")));
  statement.bind(0, id.bytes);
  return one_row(statement);
}

Result<std::optional<SessionRow>> Catalog::find_by_name(std::string_view name) {
  KVAULT_TRY(sqlite::Statement statement, database_.prepare(message(kSelectRow, "WHERE name = ?")));
  statement.bind(0, name);
  return one_row(statement);
}

Result<std::vector<SessionRow>> Catalog::list(std::string_view after_name, std::uint64_t limit) {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare(message(kSelectRow, "WHERE name > ? ORDER BY name LIMIT ?")));
  statement.bind(0, after_name).bind(1, limit);
  std::vector<SessionRow> rows;
  for (;;) {
    KVAULT_TRY(const bool found, statement.next());
    if (!found) return rows;
    KVAULT_TRY(SessionRow row, row_from(statement));
    rows.push_back(std::move(row));
  }
}

Result<SessionDescription> Catalog::description(const SessionId& id) {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare("SELECT description FROM session WHERE id = ?"));
  KVAULT_TRY(const bool found, statement.bind(0, id.bytes).next());
  if (!found) return fail(Errc::not_found, message("there is no session ", to_hex(id)));
  return parse_description(statement.blob(0));
}

Result<SessionState> Catalog::load(const SessionId& id) {
  KVAULT_TRY(std::optional<SessionRow> row, find(id));
  if (!row) return fail(Errc::not_found, message("there is no session ", to_hex(id)));
  SessionState state{
      .id = id, .commit_number = row->commit_number, .place = row->place, .meta = {}};
  state.meta.n_token = row->n_token;
  state.meta.n_page = row->n_page;
  state.meta.created_at_s = row->created_at_s;
  state.meta.committed_at_s = row->committed_at_s;
  KVAULT_TRY(state.meta.description, description(id));
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare("SELECT kind, pack_kind, pack_number, offset_bytes, length_bytes, "
                               "first_token, n_token, transaction_number, checksum FROM record "
                               "WHERE session = ? ORDER BY kind, first_token"));
  statement.bind(0, id.bytes);
  for (;;) {
    KVAULT_TRY(const bool found, statement.next());
    if (!found) return state;
    state.meta.records.push_back(live_from(statement));
  }
}

Result<CatalogTotals> Catalog::totals() {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare("SELECT (SELECT count(*) FROM session), count(*), "
                               "coalesce(sum(length_bytes), 0) + "
                               "(SELECT coalesce(sum(length_bytes), 0) FROM session) FROM record"));
  KVAULT_CHECK(statement.next());
  return CatalogTotals{statement.number(0), statement.number(1), statement.number(2)};
}

Result<std::vector<PackUse>> Catalog::pack_uses() {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare(
                 "SELECT pack_kind, pack_number, max(offset_bytes + length_bytes) FROM "
                 "(SELECT pack_kind, pack_number, offset_bytes, length_bytes FROM record UNION ALL "
                 "SELECT 0, pack_number, offset_bytes, length_bytes FROM session) GROUP BY 1, 2"));
  std::vector<PackUse> uses;
  for (;;) {
    KVAULT_TRY(const bool found, statement.next());
    if (!found) return uses;
    uses.push_back({{static_cast<PackKind>(statement.number(0)),
                     static_cast<std::uint32_t>(statement.number(1))},
                    statement.number(2)});
  }
}

}  // namespace kvault
