#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/daemon/store_fixture.hpp"

/// A catalog that SQLite finds sound and that is wrong all the same.
namespace kvault {
namespace {

using namespace test;

std::filesystem::path catalog_path(const std::filesystem::path& directory) {
  return directory / "store" / "catalog.sqlite";
}

/// Two sessions, commits after an opening that is not closed in order: copied to `killed`.
std::string make_killed(const std::filesystem::path& directory,
                        const std::filesystem::path& killed) {
  const SessionDescription description = small_session("chat");
  const ModelShape& shape = description.shape;
  std::unique_ptr<Store> store = open_store(directory);
  const SessionId id = store->create_session(description)->id;
  REQUIRE(store->create_session(small_session("bystander")));
  store.reset();
  store = open_store(directory);
  REQUIRE(append(*store, id, 150, {page_upload(shape, 0, 1), tail_upload(shape, 0, 150, 2)}));
  REQUIRE(append(*store, id, 160, {tail_upload(shape, 150, 160, 3)}));
  REQUIRE(append(*store, id, 170, {tail_upload(shape, 160, 170, 4)}));
  copy_store(directory, killed);
  return content_of(*store);
}

TEST_CASE("store: a catalog whose session has another name than its commit record is rebuilt") {
  const TemporaryDirectory directory;
  const TemporaryDirectory killed;
  const std::string content = make_killed(directory.path(), killed.path());
  std::vector<char> bytes = read_file(catalog_path(directory.path()));
  const std::string name = "chat";
  std::size_t n_changed = 0;
  for (auto at = std::search(bytes.begin(), bytes.end(), name.begin(), name.end());
       at != bytes.end(); at = std::search(at, bytes.end(), name.begin(), name.end())) {
    at[3] = 'x';
    ++n_changed;
  }
  CHECK(n_changed >= 3);  // the table, its index and the description
  write_file(catalog_path(directory.path()), bytes);
  const std::unique_ptr<Store> store = open_store(directory.path());
  CHECK(store->open_report().is_catalog_rebuilt);
  CHECK(store->open_report().damage.empty());
  CHECK(content_of(*store) == content);
}

TEST_CASE("store: a catalog whose tables are not ours is rebuilt") {
  const TemporaryDirectory directory;
  const TemporaryDirectory killed;
  const std::string content = make_killed(directory.path(), killed.path());
  std::vector<char> bytes = read_file(catalog_path(directory.path()));
  const std::string constraint = "REFERENCES session(id)";
  const auto at = std::search(bytes.begin(), bytes.end(), constraint.begin(), constraint.end());
  REQUIRE(at != bytes.end());
  at[12] = 'S';  // SQLite takes it for the same
  at[17] = 'g';  // and this only for missing once a row is inserted
  write_file(catalog_path(directory.path()), bytes);
  const std::unique_ptr<Store> store = open_store(directory.path());
  CHECK(store->open_report().is_catalog_rebuilt);
  CHECK(content_of(*store) == content);
  CHECK(store->create_session(small_session("later")));
}

TEST_CASE("store: a catalog with any bit of its header flipped is believed whole or rebuilt") {
  const TemporaryDirectory directory;
  const TemporaryDirectory killed;
  const std::string content = make_killed(directory.path(), killed.path());
  const std::vector<char> bytes = read_file(catalog_path(directory.path()));
  for (std::size_t at = 0; at < 100; ++at) {
    for (int bit = 0; bit < 8; bit += at < 24 ? 1 : 5) {
      CAPTURE(at);
      CAPTURE(bit);
      std::vector<char> flipped = bytes;
      flipped[at] = static_cast<char>(flipped[at] ^ (1 << bit));
      write_file(catalog_path(directory.path()), flipped);
      const std::unique_ptr<Store> store = open_store(directory.path());
      CHECK(content_of(*store) == content);
    }
  }
}

TEST_CASE("store: a catalog that lacks one of its numbers is rebuilt") {
  const TemporaryDirectory directory;
  const TemporaryDirectory killed;
  const std::string content = make_killed(directory.path(), killed.path());
  for (const std::string name : {"epoch", "held_log_number", "held_pages_number"}) {
    CAPTURE(name);
    std::vector<char> bytes = read_file(catalog_path(directory.path()));
    const auto at = std::search(bytes.begin(), bytes.end(), name.begin(), name.end());
    REQUIRE(at != bytes.end());
    at[static_cast<std::ptrdiff_t>(name.size()) - 1] ^= 1;  // the order of the names stays
    write_file(catalog_path(directory.path()), bytes);
    const std::unique_ptr<Store> store = open_store(directory.path());
    CHECK(store->open_report().is_catalog_rebuilt);
    CHECK(content_of(*store) == content);
  }
}

/// Where the newest transaction begins in SQLite's log: behind the last commit frame but one. A
/// frame is 24 bytes and a page; those that end a transaction have a size of the database.
std::size_t newest_transaction_begin(const std::vector<char>& log) {
  constexpr std::size_t kHeader = 32;
  constexpr std::size_t kFrame = 24 + 4096;
  std::size_t begin = kHeader;
  std::size_t next = kHeader;
  for (std::size_t at = kHeader; at + kFrame <= log.size(); at += kFrame) {
    const bool is_commit = std::any_of(log.begin() + static_cast<std::ptrdiff_t>(at + 4),
                                       log.begin() + static_cast<std::ptrdiff_t>(at + 8),
                                       [](char byte) { return byte != 0; });
    if (is_commit) begin = std::exchange(next, at + kFrame);
  }
  return begin;
}

TEST_CASE("store: a damaged log of the catalog does not bring an older state back") {
  const TemporaryDirectory directory;
  const TemporaryDirectory killed;
  const TemporaryDirectory damaged;
  const std::string content = make_killed(directory.path(), killed.path());
  CHECK(recover(killed.path()) == content);
  make_killed(directory.path() / "again", killed.path());
  const std::filesystem::path log = catalog_path(killed.path()).native() + "-wal";
  const std::vector<char> bytes = read_file(log);
  // Not in the newest transaction: there damage cannot be told from a write cut short.
  const std::size_t end = newest_transaction_begin(bytes);
  REQUIRE(end > 20'000);
  for (std::size_t at = 0; at < end; at += 509) {
    CAPTURE(at);
    copy_store(killed.path(), damaged.path());
    std::vector<char> flipped = bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ 4);
    write_file(catalog_path(damaged.path()).native() + "-wal", flipped);
    const std::unique_ptr<Store> store = open_store(damaged.path());
    CHECK(store->find_session_by_name("chat")->commit_number == 3);
    CHECK(store->verify(std::nullopt)->damage.empty());
  }
}

TEST_CASE("store: verify finds a damaged pack header") {
  const TemporaryDirectory directory;
  const std::unique_ptr<Store> store = open_store(directory.path());
  REQUIRE(store->create_session(small_session("chat")));
  CHECK(store->verify(std::nullopt)->damage.empty());
  const std::filesystem::path path = pack_path(directory.path(), "log-000001.pack");
  const std::vector<char> bytes = read_file(path);
  for (const std::size_t at : {0U, 6U, 8U, 16U, 32U, 100U, 4095U}) {
    CAPTURE(at);
    std::vector<char> flipped = bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ 1);
    write_file(path, flipped);
    CHECK(store->verify(std::nullopt)->damage.size() == 1);
  }
}

TEST_CASE("store: a session that a rebuild renamed stays so, and its catalog is believed") {
  const TemporaryDirectory directory;
  const SessionDescription description = small_session("twice");
  std::unique_ptr<Store> store = open_store(directory.path());
  REQUIRE(store->create_session(small_session("keeps the first log")));
  const SessionId old = store->create_session(description)->id;
  REQUIRE(append(*store, old, 5, {tail_upload(description.shape, 0, 5)}));
  store.reset();
  store = open_store(directory.path());
  REQUIRE(store->remove_session(old));
  store.reset();
  store = open_store(directory.path());
  const SessionId young = store->create_session(description)->id;
  REQUIRE(append(*store, young, 6, {tail_upload(description.shape, 0, 6)}));
  store.reset();
  std::filesystem::remove(pack_path(directory.path(), "log-000002.pack"));  // the tombstone
  remove_catalog(directory.path());
  const std::string content = content_of(*open_store(directory.path()));
  CHECK(content.find("'twice (") != std::string::npos);
  store = open_store(directory.path());
  CHECK_FALSE(store->open_report().is_catalog_rebuilt);
  CHECK(content_of(*store) == content);
}

}  // namespace
}  // namespace kvault
