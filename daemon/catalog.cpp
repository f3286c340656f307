#include "daemon/catalog.hpp"

#include <algorithm>
#include <string>
#include <string_view>

#include "core/os/file.hpp"
#include "daemon/wal_check.hpp"

namespace kvault {
namespace {

/// Of older ones nothing is read, the packs say it all. 1: records belonged to one session each; 2:
/// no family.
constexpr std::uint64_t kCatalogVersion = 3;

constexpr const char* kTables = R"(
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE session (
  id BLOB PRIMARY KEY, family BLOB NOT NULL, name TEXT NOT NULL UNIQUE,
  description BLOB NOT NULL,
  commit_number INTEGER NOT NULL, n_token INTEGER NOT NULL, n_page INTEGER NOT NULL,
  created_at_s INTEGER NOT NULL, committed_at_s INTEGER NOT NULL, last_used_at_s INTEGER NOT NULL,
  attributes BLOB NOT NULL, expires_at_s INTEGER NOT NULL, root_prefix BLOB NOT NULL,
  pack_number INTEGER NOT NULL, offset_bytes INTEGER NOT NULL, length_bytes INTEGER NOT NULL,
  transaction_number INTEGER NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE doomed_key (family BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE INDEX session_of_pack ON session (pack_number);
CREATE INDEX session_of_root ON session (root_prefix, n_page);
CREATE INDEX session_expiring ON session (expires_at_s) WHERE expires_at_s > 0;
CREATE TABLE record (
  session BLOB NOT NULL REFERENCES session(id) ON DELETE CASCADE,
  kind INTEGER NOT NULL, first_token INTEGER NOT NULL, n_token INTEGER NOT NULL,
  pack_kind INTEGER NOT NULL, pack_number INTEGER NOT NULL, offset_bytes INTEGER NOT NULL,
  length_bytes INTEGER NOT NULL, transaction_number INTEGER NOT NULL, checksum INTEGER NOT NULL,
  prefix BLOB, content BLOB,
  PRIMARY KEY (session, kind, first_token)) WITHOUT ROWID;
CREATE INDEX record_of_place ON record (pack_kind, pack_number, offset_bytes, length_bytes);
CREATE INDEX record_of_prefix ON record (prefix) WHERE prefix IS NOT NULL;
CREATE INDEX record_of_content ON record (content) WHERE content IS NOT NULL;
)";

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

Result<std::uint64_t> one_number(sqlite::Database& database, std::string_view question) {
  KVAULT_TRY(sqlite::Statement statement, database.prepare(question));
  KVAULT_CHECK(statement.next());
  return statement.number(0);
}

/// A write version that SQLite does not know makes a catalog read-only
/// (sqlite.org/fileformat2.html, section 1.3.3). No catalog of ours has one: a bit was flipped, and
/// all else may be sound.
Result<> check_write_version(const std::filesystem::path& path) {
  constexpr std::size_t kWriteVersionAt = 18;
  constexpr std::byte kNewestVersion{2};
  const Result<File> file = File::open_read_only(path);
  if (!file && file.error().code == Errc::not_found) return {};
  if (!file) return tl::unexpected<Error>(file.error());
  KVAULT_TRY(const std::uint64_t size_bytes, file->size_bytes());
  if (size_bytes <= kWriteVersionAt) return {};
  std::byte version{};
  KVAULT_CHECK(file->pread_all(kWriteVersionAt, std::span(&version, 1)));
  if (version <= kNewestVersion) return {};
  return fail(Errc::corrupt, message("catalog: its header says write version ",
                                     std::to_integer<int>(version), ", which there is not"));
}

}  // namespace

Result<Catalog> Catalog::open(const std::filesystem::path& path, CatalogSeal seal) {
  KVAULT_CHECK(check_wal(path.native() + "-wal"));
  KVAULT_CHECK(check_write_version(path));
  KVAULT_TRY(sqlite::Database database, sqlite::Database::open(path));
  // What is freed in a sealed one is overwritten: keyed hashes of names and prefixes.
  if (seal.is_sealing()) KVAULT_CHECK(database.run("PRAGMA secure_delete=ON"));
  Catalog catalog(std::move(database), std::move(seal));
  sqlite::Database& opened = catalog.database_;
  KVAULT_TRY(const std::uint64_t version, one_number(opened, "PRAGMA user_version"));
  if (version == 0) {
    KVAULT_TRY(const std::uint64_t n_table,
               one_number(opened, "SELECT count(*) FROM sqlite_schema"));
    catalog.is_empty_ = n_table == 0;
    if (catalog.is_empty_) return catalog;
  }
  if (version == 0 || version > kCatalogVersion) {
    return fail(Errc::corrupt,
                message("catalog: version ", version, "; this build knows 1 to ", kCatalogVersion));
  }
  KVAULT_TRY(sqlite::Statement check, opened.prepare("PRAGMA integrity_check(1)"));
  KVAULT_TRY(const bool has_answer, check.next());
  if (!has_answer || check.text(0) != "ok") {
    return fail(Errc::corrupt, message("catalog: ", check.text(0)));
  }
  catalog.is_outdated_ = version < kCatalogVersion;
  if (!catalog.is_outdated_) KVAULT_CHECK(check_tables(opened));
  return catalog;
}

Result<> Catalog::fill(const std::vector<SessionState>& sessions, std::uint64_t epoch,
                       HeldPacks held) {
  KVAULT_TRY(sqlite::Transaction transaction, sqlite::Transaction::begin(database_));
  KVAULT_CHECK(database_.run(kTables));
  for (const SessionState& session : sessions) {
    KVAULT_CHECK(put_session(session));
    KVAULT_CHECK(put_records(session));
  }
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

Result<CatalogTotals> Catalog::totals() {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare(
                 "SELECT (SELECT count(*) FROM session), count(*), "
                 "coalesce(sum(length_bytes), 0) + "
                 "(SELECT coalesce(sum(length_bytes), 0) FROM session) FROM (SELECT DISTINCT "
                 "pack_kind, pack_number, offset_bytes, length_bytes FROM record)"));
  KVAULT_CHECK(statement.next());
  return CatalogTotals{statement.number(0), statement.number(1), statement.number(2)};
}

Result<std::vector<PackUse>> Catalog::pack_uses() {
  KVAULT_TRY(sqlite::Statement statement,
             database_.prepare(
                 "SELECT pack_kind, pack_number, max(offset_bytes + length_bytes), "
                 "sum(length_bytes) FROM "
                 "(SELECT DISTINCT pack_kind, pack_number, offset_bytes, length_bytes FROM record "
                 "UNION ALL SELECT 0, pack_number, offset_bytes, length_bytes FROM session) "
                 "GROUP BY 1, 2"));
  std::vector<PackUse> uses;
  for (;;) {
    KVAULT_TRY(const bool found, statement.next());
    if (!found) return uses;
    uses.push_back({{static_cast<PackKind>(statement.number(0)),
                     static_cast<std::uint32_t>(statement.number(1))},
                    statement.number(2),
                    statement.number(3)});
  }
}

Result<> Catalog::checkpoint() { return database_.run("PRAGMA wal_checkpoint(TRUNCATE)"); }

}  // namespace kvault
