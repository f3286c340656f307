#include "daemon/store.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <set>
#include <string>

#include "tests/unit/daemon/store_fixture.hpp"

namespace kvault {
namespace {

using namespace test;

/// Two chats in several packs, one of them recurrent and rolled back. The state a test compares.
void fill(Store& store) {
  const SessionDescription description = small_session("first");
  const ModelShape& shape = description.shape;
  const SessionId first = store.create_session(description).value().id;
  REQUIRE(append(store, first, 100, {tail_upload(shape, 0, 100, 11)}));
  REQUIRE(append(store, first, 300, {tail_upload(shape, 100, 300, 12), page_upload(shape, 0, 13)}));
  REQUIRE(append(store, first, 700,
                 {page_upload(shape, 1, 14), page_upload(shape, 2, 15), page_upload(shape, 3, 16),
                  tail_upload(shape, 300, 512, 17), tail_upload(shape, 512, 700, 18)}));

  const SessionDescription recurrent = small_session("second", true);
  const SessionId second = store.create_session(recurrent).value().id;
  REQUIRE(append(store, second, 50,
                 {tail_upload(recurrent.shape, 0, 50, 21), snapshot_upload(recurrent.shape, 50)}));
  REQUIRE(append(store, second, 90,
                 {snapshot_upload(recurrent.shape, 90), tail_upload(recurrent.shape, 50, 90, 22)}));
  REQUIRE(roll_back(store, second, 50, 0));
  REQUIRE(store.create_session(small_session("empty")));
}

TEST_CASE("short: store: what was committed is there after reopening, to the byte") {
  const TemporaryDirectory directory;
  StoreOptions options = options_of(directory.path());
  options.pack_size_bytes_max = 64 * 1024;
  std::string content;
  {
    const std::unique_ptr<Store> store = open_store(options);
    fill(*store);
    content = content_of(*store);
    CHECK(content.find("'first' commit 3: 700 tokens, 4 pages") != std::string::npos);
    CHECK(content.find("'second' commit 3: 50 tokens, 0 pages") != std::string::npos);
    CHECK(content.find("'empty' commit 0: 0 tokens, 0 pages") != std::string::npos);
  }
  const std::unique_ptr<Store> store = open_store(options);
  CHECK_FALSE(store->open_report().is_catalog_rebuilt);
  CHECK(store->open_report().n_session == 3);
  CHECK(content_of(*store) == content);
  const VerifyReport report = store->verify(std::nullopt).value();
  CHECK(report.damage.empty());
  CHECK(report.n_session == 3);
  const StoreStats stats = store->stats().value();
  CHECK(stats.n_session == 3);
  CHECK(stats.n_record == report.n_record);
  CHECK(stats.live_bytes == report.bytes);
  CHECK(stats.n_pack > 2);
  CHECK(stats.pack_bytes > stats.live_bytes);
  CHECK(store->attach(store->find_session_by_name("first")->id)->description ==
        small_session("first"));
}

TEST_CASE("short: store: the directory and its files are private") {
  const TemporaryDirectory directory;
  {
    const std::unique_ptr<Store> store = open_store(directory.path());
    fill(*store);
    std::set<std::string> names;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(directory.path() / "store")) {
      struct stat status {};
      REQUIRE(::stat(entry.path().c_str(), &status) == 0);
      CAPTURE(entry.path().native());
      CHECK((status.st_mode & 0077U) == 0);
      names.insert(entry.path().filename());
    }
    CHECK(names.contains("log-000001.pack"));
    CHECK(names.contains("pages-000001.pack"));
    CHECK(names.contains("namespace.key"));
  }
  std::filesystem::permissions(directory.path() / "store", std::filesystem::perms(0755));
  CHECK(Store::open(options_of(directory.path())).error().code == Errc::permission);
}

TEST_CASE("short: store: one opener at a time") {
  const TemporaryDirectory directory;
  {
    const std::unique_ptr<Store> store = open_store(directory.path());
    CHECK(Store::open(options_of(directory.path())).error().code == Errc::busy);
  }
  CHECK(Store::open(options_of(directory.path())));
}

TEST_CASE("short: store: sessions are found, listed by name, and gone when removed") {
  const TemporaryDirectory directory;
  std::unique_ptr<Store> store = open_store(directory.path());
  for (const char* name : {"b", "a", "c"}) REQUIRE(store->create_session(small_session(name)));
  CHECK(store->create_session(small_session("b")).error().code == Errc::already_exists);
  CHECK(store->create_session(small_session("")).error().code == Errc::invalid_argument);
  const std::vector<SessionInfo> all = store->list_sessions("", 10).value();
  REQUIRE(all.size() == 3);
  CHECK(all[0].name == "a");
  CHECK(store->list_sessions("a", 1)->at(0).name == "b");
  CHECK(store->list_sessions("c", 10)->empty());
  CHECK(store->find_session(all[2].id)->name == "c");
  CHECK(store->find_session_by_name("c")->id == all[2].id);
  CHECK(all[0].created_at_s > 1'700'000'000);

  CHECK(store->remove_session(all[1].id));
  CHECK(store->remove_session(all[1].id).error().code == Errc::not_found);
  CHECK(store->find_session(all[1].id).error().code == Errc::not_found);
  CHECK(store->attach(all[1].id).error().code == Errc::not_found);
  REQUIRE(store->create_session(small_session("b")));  // the name is free again
  store.reset();
  store = open_store(directory.path());
  CHECK(store->find_session(all[1].id).error().code == Errc::not_found);
  CHECK(store->list_sessions("", 10)->size() == 3);
}

TEST_CASE("short: store: a commit from an older state is a conflict and changes nothing") {
  const TemporaryDirectory directory;
  const std::unique_ptr<Store> store = open_store(directory.path());
  const SessionDescription description = small_session("chat");
  const SessionId id = store->create_session(description)->id;
  REQUIRE(append(*store, id, 10, {tail_upload(description.shape, 0, 10)}));
  const std::string content = content_of(*store);
  const RecordHandle handle = send(*store, id, tail_upload(description.shape, 10, 20)).value();
  CommitRequest request{.expected_commit_number = 0, .n_token = 20, .kept_n_token = 10};
  request.records = {handle};
  CHECK(store->commit(id, request).error().code == Errc::conflict);
  CHECK(content_of(*store) == content);
  request.expected_commit_number = 1;  // the handle went with the request
  CHECK(store->commit(id, request).error().code == Errc::not_found);
  CHECK(store->stats()->n_pending_record == 0);
}

TEST_CASE("short: store: payloads are checked as they come") {
  const TemporaryDirectory directory;
  StoreOptions options = options_of(directory.path());
  options.n_pending_record_max = 2;
  const std::unique_ptr<Store> store = open_store(options);
  const SessionDescription description = small_session("chat");
  const SessionId id = store->create_session(description)->id;
  const Upload upload = tail_upload(description.shape, 0, 3);  // rows of 384 and 24 bytes
  REQUIRE(upload.draft.meta.chunks[1].offset_bytes == 512);

  CHECK(store->begin_record(SessionId{}, upload.draft).error().code == Errc::not_found);
  const auto begin = [&] { return store->begin_record(id, upload.draft).value(); };
  const auto code_of = [](const Result<>& result) { return result ? Errc{} : result.error().code; };
  RecordHandle handle = begin();
  CHECK(code_of(store->write_payload(handle, 1, upload.payload)) == Errc::out_of_range);
  CHECK(code_of(store->write_payload(handle, 0, upload.payload)) == Errc::not_found);  // dropped

  handle = begin();
  std::vector<std::byte> bytes = upload.payload;
  bytes.push_back(std::byte{0});
  CHECK(code_of(store->write_payload(handle, 0, bytes)) == Errc::out_of_range);
  for (const std::size_t at : {0U, 400U, 535U}) {  // a row, the gap, the last row
    handle = begin();
    bytes = upload.payload;
    bytes[at] ^= std::byte{1};
    CHECK(code_of(store->write_payload(handle, 0, bytes)) == Errc::corrupt);
  }
  handle = begin();
  REQUIRE(store->write_payload(handle, 0, std::span(upload.payload).first(500)));
  CHECK(code_of(store->finish_record(handle)) == Errc::incomplete);

  handle = begin();
  CHECK(code_of(store->abort_record(handle)) == Errc{});
  CHECK(code_of(store->abort_record(handle)) == Errc::not_found);
  begin();
  begin();
  CHECK(store->begin_record(id, upload.draft).error().code == Errc::limit_exceeded);
  CHECK(store->stats()->n_pending_record == 2);
  CHECK(store->remove_session(id));
  CHECK(store->stats()->n_pending_record == 0);
}

TEST_CASE("short: store: a commit takes finished records of its own session only") {
  const TemporaryDirectory directory;
  const std::unique_ptr<Store> store = open_store(directory.path());
  const SessionDescription description = small_session("chat");
  const SessionId id = store->create_session(description)->id;
  const SessionId other = store->create_session(small_session("other"))->id;
  const Upload upload = tail_upload(description.shape, 0, 10);
  const RecordHandle unfinished = store->begin_record(id, upload.draft).value();
  const RecordHandle foreign = send(*store, other, upload).value();
  CommitRequest request{.expected_commit_number = 0, .n_token = 10};
  request.records = {unfinished};
  CHECK(store->commit(id, request).error().code == Errc::incomplete);
  request.records = {foreign};
  CHECK(store->commit(id, request).error().code == Errc::not_found);
  CHECK(store->commit(other, request));  // still there for its own
  request.records = {send(*store, id, upload).value()};
  request.records.push_back(request.records[0]);
  CHECK(store->commit(id, request).error().code == Errc::not_found);
  request.records = {send(*store, id, upload).value()};
  request.n_token = 11;
  CHECK(store->commit(id, request).error().code == Errc::incomplete);
  CHECK(store->find_session(id)->commit_number == 0);
}

TEST_CASE("short: store: rollback is exact inside the tail, and the chat goes on from there") {
  const TemporaryDirectory directory;
  std::unique_ptr<Store> store = open_store(directory.path());
  const SessionDescription description = small_session("chat");
  const ModelShape& shape = description.shape;
  const SessionId id = store->create_session(description)->id;
  REQUIRE(append(*store, id, 300, {page_upload(shape, 0, 1), tail_upload(shape, 0, 300, 2)}));
  REQUIRE(append(*store, id, 400, {page_upload(shape, 1, 3), tail_upload(shape, 300, 400, 4)}));
  const CommitInfo info = roll_back(*store, id, 350, 1).value();
  CHECK(info.commit_number == 3);
  CHECK(info.n_token == 350);
  CHECK(info.n_page == 1);
  REQUIRE(append(*store, id, 420, {page_upload(shape, 1, 5), tail_upload(shape, 350, 420, 6)}));
  const std::string content = content_of(*store);
  store.reset();
  store = open_store(directory.path());
  CHECK(content_of(*store) == content);
  const Attachment attachment = store->attach(id).value();
  REQUIRE(attachment.records.size() == 5);
  CHECK(attachment.records[3].first_token == 300);
  CHECK(attachment.records[3].n_token == 50);
  const std::vector<std::byte> page = read_record(attachment.records[1]);
  const RecordHeader header = verify_record(page).value();
  const Upload expected = page_upload(shape, 1, 5);
  CHECK(std::equal(expected.payload.begin(), expected.payload.end(),
                   page.begin() + static_cast<std::ptrdiff_t>(header.payload_offset)));
}

TEST_CASE("short: store: equal content has equal page keys, in this store only") {
  const TemporaryDirectory directory;
  const TemporaryDirectory elsewhere;
  const auto last_key = [](Store& store, const std::string& name, std::uint64_t seed) {
    const SessionDescription description = small_session(name);
    const SessionId id = store.create_session(description)->id;
    const ModelShape& shape = description.shape;
    Upload first = page_upload(shape, 0, 1);
    Upload second = page_upload(shape, 1, 1);
    second.draft.meta.token_ids[5] += static_cast<std::uint32_t>(seed);
    REQUIRE(append(store, id, 128, {first}));
    REQUIRE(append(store, id, 256, {second}));
    const Attachment attachment = store.attach(id).value();
    const RecordHeader header = verify_record(read_record(attachment.records[1])).value();
    return header.key;
  };
  const std::unique_ptr<Store> store = open_store(directory.path());
  const PageKey key = last_key(*store, "a", 0);
  CHECK(last_key(*store, "b", 0) == key);
  CHECK(last_key(*store, "c", 1) != key);
  const std::unique_ptr<Store> other = open_store(elsewhere.path());
  CHECK(last_key(*other, "a", 0) != key);
}

TEST_CASE("short: store: packs without live records go at the next opening, oldest logs first") {
  const TemporaryDirectory directory;
  StoreOptions options = options_of(directory.path());
  options.pack_size_bytes_max = 16 * 1024;
  std::unique_ptr<Store> store = open_store(options);
  const SessionDescription description = small_session("chat");
  const ModelShape& shape = description.shape;
  const SessionId keeper = store->create_session(small_session("keeper"))->id;
  const SessionId id = store->create_session(description)->id;
  for (std::uint64_t page = 0; page < 12; ++page) {
    const std::uint64_t end = (page + 1) * kPageTokens;
    REQUIRE(append(*store, id, end,
                   {page_upload(shape, page), tail_upload(shape, end - kPageTokens, end)}));
  }
  const std::uint64_t n_pack = store->stats()->n_pack;
  store.reset();
  store = open_store(options);
  CHECK(store->open_report().n_pack_deleted == 0);  // the keeper's commit is in the first log
  REQUIRE(append(*store, keeper, 1, {tail_upload(shape, 0, 1)}));
  std::string content = content_of(*store);
  store.reset();
  store = open_store(options);
  CHECK(store->open_report().n_pack_deleted > 8);
  CHECK(content_of(*store) == content);
  CHECK(store->stats()->n_pack < n_pack);
  CHECK(store->verify(std::nullopt)->damage.empty());

  REQUIRE(store->remove_session(id));
  content = content_of(*store);
  store.reset();
  remove_catalog(directory.path());
  store = open_store(options);  // rebuilt without damage, so packs may go
  CHECK(store->open_report().is_catalog_rebuilt);
  CHECK(store->open_report().damage.empty());
  CHECK(content_of(*store) == content);
  for (const auto& entry :
       std::filesystem::directory_iterator(directory.path() / "store" / "packs")) {
    CHECK(entry.path().filename().native().starts_with("log-"));
  }
}

TEST_CASE("short: store: verify names what is damaged") {
  const TemporaryDirectory directory;
  std::unique_ptr<Store> store = open_store(directory.path());
  fill(*store);
  const SessionId id = store->find_session_by_name("first")->id;
  const Attachment attachment = store->attach(id).value();
  for (const RecordLocation& location : attachment.records) {
    const std::vector<char> bytes = read_file(location.pack_path);
    for (std::uint64_t at = location.offset_bytes;
         at < location.offset_bytes + location.length_bytes; at += 509) {
      std::vector<char> changed = bytes;
      changed[at] = static_cast<char>(changed[at] ^ 0x20);
      write_file(location.pack_path, changed);
      const VerifyReport report = store->verify(id).value();
      CHECK(report.damage.size() == 1);
    }
    write_file(location.pack_path, bytes);
  }
  CHECK(store->verify(id)->damage.empty());
  const VerifyReport all = store->verify(std::nullopt).value();
  CHECK(all.n_session == 3);
  CHECK(all.damage.empty());
  std::filesystem::remove(attachment.records[0].pack_path);
  CHECK(store->verify(id)->damage.size() == 4);  // four pages; the logs are whole
}

TEST_CASE("short: store: options are checked") {
  CHECK(Store::open({.directory = "relative", .on_step = {}}).error().code ==
        Errc::invalid_argument);
  const TemporaryDirectory directory;
  StoreOptions options = options_of(directory.path());
  options.pack_size_bytes_max = 4096;
  CHECK(Store::open(options).error().code == Errc::invalid_argument);
}

}  // namespace
}  // namespace kvault
