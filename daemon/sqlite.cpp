#include "daemon/sqlite.hpp"

#include <sqlite3.h>

#include <utility>

#include "core/os/file.hpp"

namespace kvault::sqlite {
namespace {

/// rc: SQLite's extended code.
Errc code_of(int rc) {
  // Its shared memory is a file that cannot grow; it does not tell why, and this is nearly always.
  if (rc == SQLITE_IOERR_SHMSIZE) return Errc::disk_full;
  switch (rc & 0xFF) {
    case SQLITE_FULL:
      return Errc::disk_full;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
      return Errc::corrupt;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Errc::busy;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
      return Errc::permission;
    case SQLITE_NOMEM:
      return Errc::out_of_memory;
    case SQLITE_ERROR:
    case SQLITE_SCHEMA:
      return Errc::corrupt;  // our own text is right, so the tables are not
    default:
      return Errc::io;
  }
}

tl::unexpected<Error> fail_sqlite(sqlite3* database, int rc, const char* file = __builtin_FILE(),
                                  int line = __builtin_LINE()) {
  const int extended = sqlite3_extended_errcode(database);
  const int known = (extended & 0xFF) == (rc & 0xFF) ? extended : rc;
  const char* const cause =
      known == SQLITE_IOERR_SHMSIZE ? ": no room for its -shm file, the disk is full" : "";
  return fail(code_of(known),
              message("catalog: ", sqlite3_errmsg(database), " (sqlite ", extended, ")", cause),
              file, line);
}

}  // namespace

IdleStatements::~IdleStatements() {
  for (const auto& [text, statement] : statements_) sqlite3_finalize(statement);
}

sqlite3_stmt* IdleStatements::take(std::string_view text) {
  const auto found = statements_.find(text);
  if (found == statements_.end()) return nullptr;
  sqlite3_stmt* const statement = found->second;
  statements_.erase(found);
  return statement;
}

void IdleStatements::put(sqlite3_stmt* statement) {
  // The error of its last step, if it had one, was told then.
  sqlite3_reset(statement);
  sqlite3_clear_bindings(statement);
  if (!statements_.try_emplace(sqlite3_sql(statement), statement).second) {
    sqlite3_finalize(statement);
  }
}

void Database::Close::operator()(sqlite3* database) const { sqlite3_close_v2(database); }

Statement& Statement::bind(int index, std::uint64_t value) {
  sqlite3_bind_int64(statement_.get(), index + 1, static_cast<sqlite3_int64>(value));
  return *this;
}

Statement& Statement::bind(int index, std::string_view text) {
  const char* data = text.data() == nullptr ? "" : text.data();  // a null pointer would bind NULL
  sqlite3_bind_text64(statement_.get(), index + 1, data, text.size(), SQLITE_TRANSIENT,
                      SQLITE_UTF8);
  return *this;
}

Statement& Statement::bind(int index, std::span<const std::byte> blob) {
  sqlite3_bind_blob64(statement_.get(), index + 1, blob.data(), blob.size(), SQLITE_TRANSIENT);
  return *this;
}

Result<bool> Statement::next() {
  const int rc = sqlite3_step(statement_.get());
  if (rc == SQLITE_ROW) return true;
  if (rc == SQLITE_DONE) return false;
  return fail_sqlite(sqlite3_db_handle(statement_.get()), rc);
}

Result<> Statement::run() {
  KVAULT_CHECK(next());
  reset();
  return {};
}

void Statement::reset() {
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
}

std::uint64_t Statement::number(int column) const {
  return static_cast<std::uint64_t>(sqlite3_column_int64(statement_.get(), column));
}

std::string Statement::text(int column) const {
  const auto* data = sqlite3_column_text(statement_.get(), column);
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column));
  return data == nullptr ? std::string() : std::string(reinterpret_cast<const char*>(data), size);
}

std::span<const std::byte> Statement::blob(int column) const {
  const void* data = sqlite3_column_blob(statement_.get(), column);
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column));
  return data == nullptr ? std::span<const std::byte>()
                         : std::span(static_cast<const std::byte*>(data), size);
}

Result<Database> Database::open(const std::filesystem::path& path) {
  // SQLite would make the file with the process's mask; its -wal and -shm files take this mode.
  if (Result<File> file = File::create(path); !file && file.error().code != Errc::already_exists) {
    return tl::unexpected<Error>(std::move(file).error());
  }
  sqlite3* raw = nullptr;
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
  const int rc = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  if (raw == nullptr) return fail(Errc::out_of_memory, "catalog: no memory to open it");
  Database database(raw);
  if (rc != SQLITE_OK) return fail_sqlite(raw, rc);
  sqlite3_extended_result_codes(raw, 1);
  KVAULT_CHECK(
      database.run("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                   // A short log: it counts against the store's quota.
                   "PRAGMA wal_autocheckpoint=64;"
                   "PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF;"));
  return database;
}

Result<Statement> Database::prepare(std::string_view text) {
  if (sqlite3_stmt* idle = idle_->take(text)) return Statement(idle, *idle_);
  sqlite3_stmt* statement = nullptr;
  const int rc = sqlite3_prepare_v2(database_.get(), text.data(), static_cast<int>(text.size()),
                                    &statement, nullptr);
  if (rc != SQLITE_OK) return fail_sqlite(database_.get(), rc);
  return Statement(statement, *idle_);
}

Result<> Database::run(const std::string& text) {
  const int rc = sqlite3_exec(database_.get(), text.c_str(), nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) return fail_sqlite(database_.get(), rc);
  return {};
}

Result<Transaction> Transaction::begin(Database& database) {
  KVAULT_CHECK(database.run("BEGIN IMMEDIATE"));
  return Transaction(database);
}

Transaction::~Transaction() {
  if (database_ != nullptr) static_cast<void>(database_->run("ROLLBACK").has_value());
}

Result<> Transaction::commit() {
  KVAULT_CHECK(database_->run("COMMIT"));
  database_ = nullptr;
  return {};
}

}  // namespace kvault::sqlite
