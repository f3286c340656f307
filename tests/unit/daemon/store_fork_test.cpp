#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "tests/unit/daemon/store_fixture.hpp"

namespace kvault {
namespace {

using namespace test;

std::vector<std::uint32_t> counted_tokens(std::size_t n) {
  std::vector<std::uint32_t> ids(n);
  std::iota(ids.begin(), ids.end(), 0U);
  return ids;
}

/// 700 tokens, ids 0, 1, 2, ...: pages 0 to 3, history from 384, tail to 700.
SessionId chat_of_700(Store& store, const std::string& name, std::uint64_t seed = 1) {
  const SessionDescription description = small_session(name);
  const ModelShape& shape = description.shape;
  const SessionId id = store.create_session(description).value().id;
  REQUIRE(
      append(store, id, 300, {tail_upload(shape, 0, 300, seed), page_upload(shape, 0, seed + 1)}));
  REQUIRE(append(store, id, 700,
                 {page_upload(shape, 1, seed + 2), page_upload(shape, 2, seed + 3),
                  page_upload(shape, 3, seed + 4), tail_upload(shape, 300, 700, seed + 5)}));
  return id;
}

std::string without_first_line(const std::string& text) { return text.substr(text.find('\n') + 1); }

TEST_CASE("short: store: a fork shares the records and outlives its source") {
  const TemporaryDirectory directory;
  std::string fork_content;
  {
    const std::unique_ptr<Store> store = open_store(directory.path());
    const SessionId source = chat_of_700(*store, "source");
    const std::uint64_t pack_bytes = store->stats()->pack_bytes;
    const ForkInfo fork = store->fork_session(source, 700, "fork").value();
    CHECK(fork.kept.n_token == 700);
    CHECK(fork.kept.n_page == 4);
    CHECK(fork.kept.exact);
    CHECK(fork.info.name == "fork");
    CHECK(fork.info.attributes.forked_from == source);
    CHECK(fork.info.attributes.forked_at_token == 700);
    // One commit record, no page.
    CHECK(store->stats()->pack_bytes == pack_bytes + 4096);
    CHECK(store->stats()->n_record == 5);
    const SessionInfo info = store->find_session(source).value();
    fork_content = without_first_line(content_of(*store, fork.info));
    CHECK(without_first_line(content_of(*store, info)) == fork_content);

    // Each goes on by itself.
    const ModelShape shape = small_session("").shape;
    REQUIRE(append(*store, fork.info.id, 710, {tail_upload(shape, 700, 710, 77)}));
    CHECK(store->find_session(source)->n_token == 700);
    REQUIRE(store->remove_session(source));
    REQUIRE(roll_back(*store, fork.info.id, 700, 4));
    CHECK(store->verify(std::nullopt)->damage.empty());
  }
  // The catalog is rebuilt from the packs: the fork is whole though its source is gone.
  remove_catalog(directory.path());
  const std::unique_ptr<Store> store = open_store(directory.path());
  CHECK(store->open_report().damage.empty());
  CHECK(store->find_session_by_name("source").error().code == Errc::not_found);
  const SessionInfo fork = store->find_session_by_name("fork").value();
  CHECK(fork.attributes.forked_at_token == 700);
  CHECK(without_first_line(content_of(*store, fork)) == fork_content);
}

TEST_CASE("short: store: forks land where the stored state can go on") {
  const TemporaryDirectory directory;
  const std::unique_ptr<Store> store = open_store(directory.path());
  const SessionId source = chat_of_700(*store, "source");
  struct Case {
    std::uint64_t asked, kept, n_page;
    bool exact;
  };
  // Rows are raw from 300 on: the page that holds a position and the one before must be.
  for (const Case& c : {Case{700, 700, 4, true}, Case{650, 650, 4, true}, Case{513, 513, 3, true},
                        Case{512, 512, 3, true}, Case{511, 384, 3, false}, Case{300, 256, 2, false},
                        Case{200, 128, 1, true}, Case{127, 0, 0, true}, Case{0, 0, 0, true}}) {
    CAPTURE(c.asked);
    const ForkInfo fork = store->fork_session(source, c.asked, message("at ", c.asked)).value();
    CHECK(fork.kept.n_token == c.kept);
    CHECK(fork.kept.n_page == c.n_page);
    CHECK(fork.kept.exact == c.exact);
    CHECK(fork.info.n_token == c.kept);
    CHECK(fork.info.n_page == c.n_page);
  }
  CHECK(store->verify(std::nullopt)->damage.empty());
  CHECK(store->fork_session(source, 701, "x").error().code == Errc::out_of_range);
  CHECK(store->fork_session(source, 0, "source").error().code == Errc::already_exists);
  CHECK(store->fork_session(SessionId{}, 0, "x").error().code == Errc::not_found);
}

TEST_CASE("short: store: a fork of a recurrent model begins at a snapshot") {
  const TemporaryDirectory directory;
  const std::unique_ptr<Store> store = open_store(directory.path());
  const SessionDescription description = small_session("recurrent", true);
  const SessionId id = store->create_session(description).value().id;
  std::uint64_t n = 0;
  for (const std::uint64_t end : {50, 90, 120}) {
    REQUIRE(append(*store, id, end,
                   {tail_upload(description.shape, n, end, end),
                    snapshot_upload(description.shape, end, end)}));
    n = end;
  }
  CHECK(store->fork_session(id, 120, "a")->kept.n_token == 120);
  CHECK(store->fork_session(id, 119, "b")->kept.n_token == 90);
  CHECK(store->fork_session(id, 49, "c")->kept.n_token == 0);
  CHECK(store->verify(std::nullopt)->damage.empty());
}

TEST_CASE("short: store: the longest usable prefix is found, by tokens and model") {
  const TemporaryDirectory directory;
  const std::unique_ptr<Store> store = open_store(directory.path());
  const SessionId long_chat = chat_of_700(*store, "long");
  const SessionDescription description = small_session("");
  const ModelShape& shape = description.shape;
  const SessionId short_chat = store->create_session(small_session("short")).value().id;
  REQUIRE(append(*store, short_chat, 90, {tail_upload(shape, 0, 90, 5)}));

  std::vector<std::uint32_t> ids = counted_tokens(800);
  MatchInfo match = store->match(description, ids).value();
  REQUIRE(match.session);
  CHECK(match.session->id == long_chat);
  CHECK(match.n_token == 700);
  CHECK(match.kept.n_token == 700);

  ids[610] = 5;  // differs within the tail
  match = store->match(description, ids).value();
  CHECK(match.n_token == 610);
  CHECK(match.kept.n_token == 610);
  CHECK(match.kept.exact);

  ids[400] = 5;  // differs within page 3: the pages before it are shared
  match = store->match(description, ids).value();
  REQUIRE(match.session);
  CHECK(match.n_token == 384);
  CHECK(match.kept.n_token == 384);
  CHECK_FALSE(match.kept.exact);

  // Less than a page in common: only the short chat's tail is of use.
  ids[100] = 5;
  match = store->match(description, ids).value();
  REQUIRE(match.session);
  CHECK(match.session->id == short_chat);
  CHECK(match.n_token == 90);
  ids[0] = 5;
  CHECK_FALSE(store->match(description, ids)->session);
  CHECK_FALSE(store->match(description, {})->session);

  SessionDescription other = description;
  other.identity[0].value = "sha256:01";
  CHECK_FALSE(store->match(other, counted_tokens(800))->session);
  other = description;
  other.shape.layers[0].key_scheme = Scheme::tq3;
  CHECK_FALSE(store->match(other, counted_tokens(800))->session);
}

TEST_CASE("short: store: what is no text is never matched") {
  const TemporaryDirectory directory;
  const std::unique_ptr<Store> store = open_store(directory.path());
  const SessionDescription description = small_session("picture");
  const ModelShape& shape = description.shape;
  const SessionId id = store->create_session(description).value().id;
  std::vector<Upload> uploads = {page_upload(shape, 0, 1), page_upload(shape, 1, 2),
                                 page_upload(shape, 2, 3), tail_upload(shape, 256, 512, 4)};
  uploads[1].draft.meta.token_ids[7] = 0xFFFFFFFF;
  REQUIRE(append(*store, id, 512, uploads));
  std::vector<std::uint32_t> ids = counted_tokens(512);
  ids[135] = 0xFFFFFFFF;
  const MatchInfo match = store->match(description, ids).value();
  REQUIRE(match.session);
  CHECK(match.n_token == 128);
}

TEST_CASE("short: store: matches survive a rebuild of the catalog") {
  const TemporaryDirectory directory;
  { chat_of_700(*open_store(directory.path()), "long"); }
  remove_catalog(directory.path());
  const std::unique_ptr<Store> store = open_store(directory.path());
  CHECK(store->match(small_session(""), counted_tokens(650))->kept.n_token == 650);
}

TEST_CASE("short: store: pages with equal key and bytes are kept once") {
  const TemporaryDirectory directory;
  const std::unique_ptr<Store> store = open_store(directory.path());
  chat_of_700(*store, "one", 1);
  const std::uint64_t n_record = store->stats()->n_record;
  const SessionDescription description = small_session("two");
  const ModelShape& shape = description.shape;
  const SessionId two = store->create_session(description).value().id;
  REQUIRE(append(*store, two, 300, {tail_upload(shape, 0, 300, 1), page_upload(shape, 0, 2)}));
  // Page 1 is the same, page 2 has the same tokens and other bytes, page 3 follows another page.
  const CommitInfo commit = append(*store, two, 700,
                                   {page_upload(shape, 1, 3), page_upload(shape, 2, 99),
                                    page_upload(shape, 3, 5), tail_upload(shape, 300, 700, 6)})
                                .value();
  CHECK(commit.shared_bytes == store->attach(two)->records[1].length_bytes * 2);
  CHECK(store->stats()->n_record == n_record + 2);  // page 2 and a tail
  CHECK(store->verify(std::nullopt)->damage.empty());
  CHECK(commit.coded_bytes > 0);
  CHECK(commit.raw_bytes > 0);
}

TEST_CASE("short: store: names, labels, pins and expiry change, and survive a rebuild") {
  const TemporaryDirectory directory;
  {
    const std::unique_ptr<Store> store = open_store(directory.path());
    const SessionId id = chat_of_700(*store, "old name");
    REQUIRE(store->create_session(small_session("taken")));
    const SessionChange change{.name = "new name",
                               .labels = {{"work", "draft", "work"}},
                               .is_pinned = true,
                               .expires_at_s = 99'999'999'999};
    const SessionInfo info = store->update_session(id, change).value();
    CHECK(info.name == "new name");
    CHECK(info.attributes.labels == std::vector<std::string>{"draft", "work"});
    CHECK(info.commit_number == 2);
    CHECK(store->update_session(id, {.name = "taken"}).error().code == Errc::already_exists);
    CHECK(store->update_session(id, {.name = "a\nb"}).error().code == Errc::invalid_argument);
    CHECK(store->update_session(id, {.labels = {{""}}}).error().code == Errc::invalid_argument);
    CHECK(store->update_session(SessionId{}, {}).error().code == Errc::not_found);
    // The next commit keeps them.
    REQUIRE(append(*store, id, 701, {tail_upload(small_session("").shape, 700, 701, 9)}));
  }
  remove_catalog(directory.path());
  const std::unique_ptr<Store> store = open_store(directory.path());
  const SessionInfo info = store->find_session_by_name("new name").value();
  CHECK(info.n_token == 701);
  CHECK(info.attributes.is_pinned);
  CHECK(info.attributes.expires_at_s == 99'999'999'999);
  CHECK(info.attributes.labels.size() == 2);
  CHECK(store->verify(std::nullopt)->damage.empty());
}

}  // namespace
}  // namespace kvault
