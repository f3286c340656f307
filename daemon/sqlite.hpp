#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace kvault::sqlite {

/// Prepared statements that nobody uses at the moment, by their text: to prepare one costs more
/// than most of them take to run.
class IdleStatements {
 public:
  IdleStatements() = default;
  IdleStatements(const IdleStatements&) = delete;
  IdleStatements& operator=(const IdleStatements&) = delete;
  ~IdleStatements();

  /// Null where there is none.
  sqlite3_stmt* take(std::string_view text);
  void put(sqlite3_stmt* statement);

 private:
  std::map<std::string, sqlite3_stmt*, std::less<>> statements_;
};

/// A prepared statement and the row it stands on. Columns and parameters count from 0. 64-bit
/// numbers travel as SQLite's signed ones, bit for bit.
class Statement {
 public:
  Statement(sqlite3_stmt* statement, IdleStatements& idle) : statement_(statement, {&idle}) {}

  Statement& bind(int index, std::uint64_t value);
  Statement& bind(int index, std::string_view text);
  Statement& bind(int index, std::span<const std::byte> blob);

  /// Goes to the next row; false where there is none.
  Result<bool> next();
  /// Runs a statement without rows.
  Result<> run();
  void reset();

  std::uint64_t number(int column) const;
  std::string text(int column) const;
  std::span<const std::byte> blob(int column) const;  ///< until the next call

 private:
  struct GiveBack {
    IdleStatements* idle;
    void operator()(sqlite3_stmt* statement) const { idle->put(statement); }
  };
  std::unique_ptr<sqlite3_stmt, GiveBack> statement_;
};

/// One connection to a database file, in WAL mode and durable (synchronous=FULL).
class Database {
 public:
  /// Creates the file (mode 0600) where it is missing. Errc::corrupt: not a database, or a damaged
  /// one; other errors are those of the machine.
  static Result<Database> open(const std::filesystem::path& path);

  /// The statement is kept when it goes, for the next one of the same text; it does not outlive the
  /// database.
  Result<Statement> prepare(std::string_view text);
  /// Runs statements without parameters and results.
  Result<> run(const std::string& text);

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };
  explicit Database(sqlite3* database) : database_(database) {}
  std::unique_ptr<sqlite3, Close> database_;
  std::unique_ptr<IdleStatements> idle_ = std::make_unique<IdleStatements>();
};

/// Rolls back on destruction unless commit() succeeded.
class Transaction {
 public:
  static Result<Transaction> begin(Database& database);
  Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  Result<> commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;
};

}  // namespace kvault::sqlite
