#include <doctest/doctest.h>
#include <sys/file.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/unit/daemon/store_fixture.hpp"

namespace kvault {
namespace {

using namespace test;

constexpr std::uint64_t kSmallPack = 64 * 1024;

StoreOptions small_packs(const TemporaryDirectory& directory, std::uint64_t quota_bytes = 0) {
  StoreOptions options = options_of(directory.path());
  options.pack_size_bytes_max = kSmallPack;
  options.quota_bytes = quota_bytes;
  return options;
}

/// A chat of 384 tokens: two pages, history and tail.
SessionId chat(Store& store, const std::string& name, std::uint64_t seed) {
  const SessionDescription description = small_session(name);
  const ModelShape& shape = description.shape;
  const SessionId id = store.create_session(description).value().id;
  const Result<CommitInfo> commit =
      append(store, id, 384,
             {page_upload(shape, 0, seed), page_upload(shape, 1, seed + 1),
              tail_upload(shape, 128, 384, seed + 2)});
  INFO((commit ? std::string() : commit.error().message));
  REQUIRE(commit);
  return id;
}

MaintainReport maintain_until_done(Store& store) {
  MaintainReport all;
  for (int step = 0; step < 100; ++step) {
    const MaintainReport report = store.maintain().value();
    all.removed.insert(all.removed.end(), report.removed.begin(), report.removed.end());
    all.damage.insert(all.damage.end(), report.damage.begin(), report.damage.end());
    all.n_pack_deleted += report.n_pack_deleted;
    all.moved_bytes += report.moved_bytes;
    if (report.n_pack_deleted == 0 && report.moved_bytes == 0 && report.removed.empty()) break;
  }
  return all;
}

std::uint64_t size_on_disk(const std::filesystem::path& directory) {
  std::uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  return bytes;
}

TEST_CASE("short: store: packs that are half dead are emptied, and nothing changes") {
  const TemporaryDirectory directory;
  std::string content;
  {
    const std::unique_ptr<Store> store = open_store(small_packs(directory));
    for (std::uint64_t i = 0; i < 12; ++i) chat(*store, message("chat ", 10 + i), 100 * i + 1);
    REQUIRE(store->fork_session(store->find_session_by_name("chat 11")->id, 300, "fork"));
    for (std::uint64_t i = 0; i < 12; ++i) {
      if (i % 4 == 3) continue;
      REQUIRE(store->remove_session(store->find_session_by_name(message("chat ", 10 + i))->id));
    }
    content = content_of(*store);
    const std::uint64_t before = store->stats()->pack_bytes;
    const MaintainReport report = maintain_until_done(*store);
    CHECK(report.n_pack_deleted > 0);
    CHECK(report.moved_bytes > 0);
    CHECK(report.damage.empty());
    const StoreStats stats = store->stats().value();
    CHECK(stats.pack_bytes < before);
    CHECK(stats.pack_bytes <= 2 * stats.live_bytes + 4 * kSmallPack);
    CHECK(stats.counters.moved_bytes == report.moved_bytes);
    CHECK(content_of(*store) == content);
    CHECK(store->verify(std::nullopt)->damage.empty());
  }
  // What was moved is what a rebuild finds.
  remove_catalog(directory.path());
  const std::unique_ptr<Store> store = open_store(small_packs(directory));
  CHECK(store->open_report().damage.empty());
  CHECK(content_of(*store) == content);
}

TEST_CASE("short: store: a pack that a reader has locked stays until it is let go") {
  const TemporaryDirectory directory;
  const std::unique_ptr<Store> store = open_store(small_packs(directory));
  std::vector<SessionId> chats;
  for (std::uint64_t i = 0; i < 6; ++i) chats.push_back(chat(*store, message("chat ", i), 10 * i));
  const std::filesystem::path pack = store->attach(chats[0])->records[0].pack_path;
  File reader = File::open_read_only(pack).value();
  REQUIRE(::flock(reader.descriptor(), LOCK_SH) == 0);
  for (const SessionId& id : chats) REQUIRE(store->remove_session(id));
  maintain_until_done(*store);
  CHECK(std::filesystem::exists(pack));
  CHECK(store->stats()->pack_bytes >= std::filesystem::file_size(pack));
  reader.close();
  CHECK(store->maintain()->n_pack_deleted >= 1);
  CHECK_FALSE(std::filesystem::exists(pack));
}

TEST_CASE("short: store: sessions expire, unless somebody holds them") {
  const TemporaryDirectory directory;
  const std::unique_ptr<Store> store = open_store(small_packs(directory));
  const SessionId old = chat(*store, "old", 1);
  const SessionId held = chat(*store, "held", 2);
  const SessionId later = chat(*store, "later", 3);
  REQUIRE(store->update_session(old, {.expires_at_s = 1000}));
  REQUIRE(store->update_session(held, {.expires_at_s = 1000}));
  REQUIRE(store->update_session(later, {.expires_at_s = 99'999'999'999}));
  REQUIRE(store->hold(held));
  CHECK(store->maintain()->removed == std::vector{old});
  CHECK(store->find_session(held));
  store->release(held);
  CHECK(store->maintain()->removed == std::vector{held});
  CHECK(store->find_session(later));
  CHECK(store->stats()->counters.n_expired == 2);
  CHECK(store->hold(old).error().code == Errc::not_found);
}

TEST_CASE("short: store: the quota is kept by what was used longest ago") {
  const TemporaryDirectory directory;
  constexpr std::uint64_t kQuota = 4 << 20;
  const std::unique_ptr<Store> store = open_store(small_packs(directory, kQuota));
  const SessionId pinned = chat(*store, "pinned", 1);
  const SessionId held = chat(*store, "held", 2);
  REQUIRE(store->update_session(pinned, {.is_pinned = true}));
  REQUIRE(store->hold(held));
  for (std::uint64_t i = 0; i < 140; ++i) {
    CAPTURE(i);
    chat(*store, message("chat ", i), 10 * i + 3);
    CHECK(size_on_disk(directory.path()) <= kQuota);
  }
  const StoreStats stats = store->stats().value();
  CHECK(stats.counters.n_evicted > 0);
  CHECK(stats.disk_bytes <= kQuota);
  CHECK(store->find_session(pinned));
  CHECK(store->find_session(held));
  CHECK(store->find_session_by_name("chat 139"));
  CHECK_FALSE(store->find_session_by_name("chat 0"));
  CHECK(store->verify(std::nullopt)->damage.empty());
}

TEST_CASE("short: store: a quota full of pinned sessions refuses, and says why") {
  const TemporaryDirectory directory;
  constexpr std::uint64_t kQuota = 4 << 20;
  const std::unique_ptr<Store> store = open_store(small_packs(directory, kQuota));
  const SessionDescription description = small_session("full");
  const SessionId id = store->create_session(description).value().id;
  REQUIRE(store->update_session(id, {.is_pinned = true}));
  Result<CommitInfo> commit = CommitInfo{};
  std::uint64_t n = 0;
  for (; commit && n < 100'000; n += 500) {
    commit = append(*store, id, n + 500, {tail_upload(description.shape, n, n + 500, n)});
  }
  REQUIRE_FALSE(commit);
  CHECK(commit.error().code == Errc::disk_full);
  CHECK(commit.error().message.find("quota of 4194304 bytes") != std::string::npos);
  CHECK(size_on_disk(directory.path()) <= kQuota);
  CHECK(store->find_session(id)->n_token == n - 500);
  CHECK(store->verify(std::nullopt)->damage.empty());
  // With the pin gone another session finds room.
  REQUIRE(store->update_session(id, {.is_pinned = false}));
  chat(*store, "other", 7);
  CHECK(store->find_session(id).error().code == Errc::not_found);
}

TEST_CASE("short: store: a damaged record is not moved, and repair goes back before it") {
  const TemporaryDirectory directory;
  const std::unique_ptr<Store> store = open_store(small_packs(directory));
  const SessionDescription description = small_session("chat");
  const ModelShape& shape = description.shape;
  const SessionId id = store->create_session(description).value().id;
  REQUIRE(append(*store, id, 700,
                 {page_upload(shape, 0, 1), page_upload(shape, 1, 2), page_upload(shape, 2, 3),
                  page_upload(shape, 3, 4), tail_upload(shape, 384, 700, 5)}));
  const RecordLocation page = store->attach(id)->records[2];
  std::vector<char> bytes = read_file(page.pack_path);
  bytes[page.offset_bytes + 4096 + 100] ^= 1;
  write_file(page.pack_path, bytes);

  const VerifyReport found = store->verify(id).value();
  REQUIRE(found.damage.size() == 1);
  CHECK(found.first_damaged_token == 256);
  REQUIRE(store->hold(id));
  CHECK(store->repair(id).error().code == Errc::busy);
  store->release(id);
  CHECK(store->repair(id)->damage.size() == 1);
  CHECK(store->verify(id)->damage.empty());
  const SessionInfo info = store->find_session(id).value();
  CHECK(info.n_token == 256);
  CHECK(info.n_page == 2);
  CHECK(info.commit_number == 2);
  CHECK(store->repair(id)->damage.empty());
}

TEST_CASE("short: store: a store of version 1 is read, and goes on") {
  const TemporaryDirectory directory;
  const std::filesystem::path source =
      std::filesystem::path(KVAULT_TEST_SOURCE_DIR) / "tests/data/store-v1";
  std::filesystem::copy(source, directory.path() / "store",
                        std::filesystem::copy_options::recursive);
  for (const char* folder : {"store", "store/packs"}) {
    std::filesystem::permissions(directory.path() / folder, std::filesystem::perms::owner_all);
  }
  const std::unique_ptr<Store> store = open_store(directory.path());
  CHECK(store->open_report().is_catalog_rebuilt);
  CHECK(store->open_report().damage.empty());
  const SessionInfo info = store->find_session_by_name("golden chat").value();
  CHECK(info.commit_number == 2);
  CHECK(info.n_token == 400);
  CHECK(info.n_page == 2);
  CHECK(info.attributes == SessionAttributes());
  CHECK(store->verify(std::nullopt)->damage.empty());
  REQUIRE(store->update_session(info.id, {.is_pinned = true}));
  CHECK(store->fork_session(info.id, 400, "fork")->kept.n_token == 400);
  std::vector<std::uint32_t> ids;
  for (std::uint32_t i = 0; i < 400; ++i) ids.push_back(1000 + i);
  const SessionDescription description = store->attach(info.id)->description;
  CHECK(store->match(description, ids)->kept.n_token == 400);
}

}  // namespace
}  // namespace kvault
