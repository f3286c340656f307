#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/unit/daemon/store_fixture.hpp"

namespace kvault {

using namespace test;

TEST_CASE("short: store: what was done once is not done twice") {
  const TemporaryDirectory directory;
  const ModelShape shape = small_session("").shape;
  RequestKey create{};
  RequestKey commit{};
  RequestKey fork{};
  create[0] = commit[1] = fork[2] = std::byte{7};
  SessionId id;
  CommitRequest request{.n_token = 128, .request_key = commit};
  for (const bool is_reopened : {false, true}) {
    CAPTURE(is_reopened);
    if (is_reopened) remove_catalog(directory.path());
    const std::unique_ptr<Store> store = open_store(directory.path());
    if (!is_reopened) {
      id = store->create_session(small_session("chat"), create)->id;
      CHECK(store->create_session(small_session("chat"), create)->id == id);
      CHECK(store->create_session(small_session("chat"), commit).error().code ==
            Errc::already_exists);
      CHECK(store->create_session(small_session("chat")).error().code == Errc::already_exists);
    }
    request.records = {send(*store, id, page_upload(shape, 0)).value()};
    const CommitInfo info = store->commit(id, request).value();
    CHECK(info.commit_number == 1);
    CHECK(info.n_token == 128);
    CHECK(info.n_page == 1);
    CHECK(store->stats()->n_record == 1);
    CHECK(store->stats()->n_pending_record == 0);
    const ForkInfo made = store->fork_session(id, 128, "fork", fork).value();
    CHECK(made.kept.n_token == 128);
    CHECK(made.info.n_token == 128);
    CHECK(store->list_sessions("", 9)->size() == 2);
    CHECK(store->fork_session(id, 128, "fork", commit).error().code == Errc::already_exists);
    // Another request at the same commit is another one's.
    CommitRequest other = request;
    other.request_key = create;
    other.records = {send(*store, id, page_upload(shape, 0)).value()};
    CHECK(store->commit(id, other).error().code == Errc::conflict);
    other.request_key = {};
    other.records = {send(*store, id, page_upload(shape, 0)).value()};
    CHECK(store->commit(id, other).error().code == Errc::conflict);
    // Neither labels nor compaction make it forget.
    REQUIRE(store->update_session(id, {.labels = {{"seen"}}}));
  }
  const std::unique_ptr<Store> store = open_store(directory.path());
  REQUIRE(append(*store, id, 130, {tail_upload(shape, 128, 130)}));
  request.records = {};
  CHECK(store->commit(id, request).error().code == Errc::conflict);
}

TEST_CASE("short: store: verify in parts says what verify says") {
  const TemporaryDirectory directory;
  const std::unique_ptr<Store> store = open_store(directory.path());
  const SessionDescription description = small_session("chat");
  const SessionId id = store->create_session(description)->id;
  std::vector<Upload> uploads;
  for (std::uint64_t page = 0; page < 9; ++page) {
    uploads.push_back(page_upload(description.shape, page, page));
  }
  REQUIRE(append(*store, id, 9 * kPageTokens, uploads));
  const RecordLocation victim = store->attach(id)->records[4];
  std::vector<char> pack = read_file(victim.pack_path);
  pack[victim.offset_bytes + 5000] = static_cast<char>(pack[victim.offset_bytes + 5000] ^ 1);
  write_file(victim.pack_path, pack);
  const VerifyReport whole = store->verify(id).value();
  REQUIRE(whole.damage.size() == 1);
  for (const std::uint64_t bytes_max : {std::uint64_t{1}, std::uint64_t{20'000}, UINT64_MAX}) {
    CAPTURE(bytes_max);
    VerifyCursor cursor;
    VerifyReport report;
    int n_part = 1;
    while (!store->verify_part(id, cursor, bytes_max, report).value()) ++n_part;
    CHECK(n_part == (bytes_max == 1 ? 9 : bytes_max == UINT64_MAX ? 1 : n_part));
    CHECK(report.n_record == whole.n_record);
    CHECK(report.bytes == whole.bytes);
    CHECK(report.damage == whole.damage);
  }
}

}  // namespace kvault
