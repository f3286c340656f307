#include "daemon/wal_check.hpp"

#include <doctest/doctest.h>
#include <sqlite3.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/temporary_directory.hpp"

// Logs that SQLite itself wrote, put together as processes that were killed leave them.

namespace kvault {
namespace {

using Bytes = std::vector<std::byte>;
using test::TemporaryDirectory;

constexpr std::size_t kFrameBytes = 24 + 4096;
constexpr std::size_t kLogHeaderBytes = 32;

Bytes read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const auto* const first = reinterpret_cast<const std::byte*>(text.data());
  return {first, first + text.size()};
}

/// A database with a log, as a killed process leaves it: it is never closed in order.
class Database {
 public:
  explicit Database(const std::filesystem::path& path) : path_(path) {
    REQUIRE(sqlite3_open(path.c_str(), &handle_) == SQLITE_OK);
    run("PRAGMA journal_mode=WAL");
    run("PRAGMA wal_autocheckpoint=0");
  }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database() { sqlite3_close(handle_); }

  void run(const std::string& text) {
    REQUIRE(sqlite3_exec(handle_, text.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK);
  }
  /// A transaction of about `n_page` pages.
  void fill(int n_page) {
    run("INSERT INTO t VALUES(randomblob(" + std::to_string(n_page * 4000) + "))");
  }
  Bytes log() const { return read_bytes(path_.string() + "-wal"); }
  /// Its files as they are now.
  void copy_to(const std::filesystem::path& path) const {
    for (const char* const end : {"", "-wal"}) {
      std::filesystem::copy_file(path_.string() + end, path.string() + end);
    }
  }

 private:
  std::filesystem::path path_;
  sqlite3* handle_ = nullptr;
};

/// A transaction of `n_page` pages behind those of a database, and the log then.
Bytes log_after(const TemporaryDirectory& directory, const Database& begun, int n_page) {
  const std::filesystem::path path = directory.path() / std::to_string(n_page);
  begun.copy_to(path);
  Database database(path);
  database.fill(n_page);
  return database.log();
}

/// Logs of one salt that begin alike.
struct Logs {
  Bytes small;   ///< another small transaction
  Bytes middle;  ///< a larger one instead
  Bytes large;
  Bytes four;  ///< four transactions
};

Logs make_logs(const TemporaryDirectory& directory) {
  Database begun(directory.path() / "begun");
  begun.run("CREATE TABLE t(x)");
  begun.fill(2);
  Logs logs;
  logs.small = log_after(directory, begun, 1);
  logs.middle = log_after(directory, begun, 5);
  logs.large = log_after(directory, begun, 14);
  for (int i = 0; i < 3; ++i) begun.fill(4);
  logs.four = begun.log();
  return logs;
}

TEST_CASE("wal check: whole logs are sound, cut anywhere too") {
  const TemporaryDirectory directory;
  const Logs logs = make_logs(directory);
  for (const Bytes& log : {logs.small, logs.middle, logs.large, logs.four}) {
    REQUIRE(log.size() > kLogHeaderBytes + 2 * kFrameBytes);
    CHECK(check_wal(log));
    for (std::size_t size = 0; size < log.size(); size += 509) {
      CHECK(check_wal(std::span(log).first(size)));
    }
  }
}

TEST_CASE("wal check: a flipped bit before the newest transaction is damage") {
  const TemporaryDirectory directory;
  Bytes log = make_logs(directory).four;
  // The newest transaction is the last that fill() made: of four pages and a few of the table's.
  const std::size_t before_newest = log.size() - 8 * kFrameBytes;
  REQUIRE(before_newest > kLogHeaderBytes + kFrameBytes);
  for (std::size_t at = kLogHeaderBytes; at < before_newest; at += 211) {
    // A salt that is wrong makes a frame another log's.
    if ((at - kLogHeaderBytes) % kFrameBytes >= 8 && (at - kLogHeaderBytes) % kFrameBytes < 16) {
      continue;
    }
    CAPTURE(at);
    log[at] ^= std::byte{4};
    const Result<> checked = check_wal(log);
    CHECK(!checked);
    log[at] ^= std::byte{4};
  }
}

TEST_CASE("wal check: what transactions that were cut short left behind a newer one is none") {
  const TemporaryDirectory directory;
  const Logs logs = make_logs(directory);
  REQUIRE(logs.small.size() < logs.middle.size());
  REQUIRE(logs.middle.size() < logs.large.size());
  // Over the end of a large transaction that of a middle one, over both a small one: behind what is
  // sound stands a frame that ends a transaction, then frames that do not follow it.
  Bytes log = logs.large;
  std::copy(logs.middle.begin(), logs.middle.end(), log.begin());
  CHECK(check_wal(log));
  std::copy(logs.small.begin(), logs.small.end(), log.begin());
  CHECK(check_wal(log));
}

}  // namespace
}  // namespace kvault
