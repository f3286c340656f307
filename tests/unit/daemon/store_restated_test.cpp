#include <doctest/doctest.h>

#include "tests/unit/daemon/store_fixture.hpp"

namespace kvault {
namespace {

using namespace test;

/// A store whose catalog refuses the next change: what was to be written is whole in the packs.
struct Refusing {
  explicit Refusing(const TemporaryDirectory& directory) {
    StoreOptions options = options_of(directory.path());
    options.on_step = [this](StoreStep step, const std::filesystem::path&) -> Result<> {
      if (!refuses || step != StoreStep::update_catalog) return {};
      refuses = false;
      return fail(Errc::io, "the catalog's disk");
    };
    store = open_store(std::move(options));
  }
  bool refuses = false;
  std::unique_ptr<Store> store;
};

TEST_CASE("short: store: a session stated anew after a failed removal survives a rebuild") {
  const TemporaryDirectory directory;
  std::string content;
  {
    Refusing refusing(directory);
    const SessionId id = refusing.store->create_session(small_session("chat")).value().id;
    REQUIRE(append(*refusing.store, id, 5, {tail_upload(small_session("chat").shape, 0, 5)}));
    refusing.refuses = true;
    REQUIRE(refusing.store->remove_session(id).error().code == Errc::io);
    REQUIRE(refusing.store->update_session(id, {.is_pinned = true}));
    content = content_of(*refusing.store);
  }
  remove_catalog(directory.path());
  const std::unique_ptr<Store> store = open_store(directory.path());
  CHECK(content_of(*store) == content);
  REQUIRE(store->find_session_by_name("chat"));
  CHECK(store->find_session_by_name("chat")->attributes.is_pinned);
}

TEST_CASE("short: store: a session stated anew after a failed commit is what a rebuild finds") {
  const TemporaryDirectory directory;
  std::string content;
  {
    Refusing refusing(directory);
    const ModelShape shape = small_session("chat").shape;
    const SessionId id = refusing.store->create_session(small_session("chat")).value().id;
    REQUIRE(append(*refusing.store, id, 5, {tail_upload(shape, 0, 5)}));
    refusing.refuses = true;
    REQUIRE_FALSE(append(*refusing.store, id, 9, {tail_upload(shape, 5, 9)}));
    REQUIRE(refusing.store->update_session(id, {.name = "renamed"}));
    content = content_of(*refusing.store);
  }
  remove_catalog(directory.path());
  const std::unique_ptr<Store> store = open_store(directory.path());
  CHECK(store->open_report().damage.empty());
  CHECK(content_of(*store) == content);
}

TEST_CASE("short: store: a record that no quota could hold costs no session") {
  const TemporaryDirectory directory;
  StoreOptions options = options_of(directory.path());
  options.quota_bytes = 4 << 20;
  const std::unique_ptr<Store> store = open_store(std::move(options));
  const ModelShape shape = small_session("chat").shape;
  REQUIRE(store->create_session(small_session("other")));
  const SessionId id = store->create_session(small_session("chat")).value().id;
  CHECK(append(*store, id, 40'000, {tail_upload(shape, 0, 40'000)}).error().code ==
        Errc::disk_full);
  CHECK(store->find_session_by_name("other"));
  CHECK(store->find_session_by_name("chat"));
  CHECK(store->stats()->counters.n_evicted == 0);
}

TEST_CASE("short: store: room for a session's record is not made by removing the session") {
  const TemporaryDirectory directory;
  StoreOptions options = options_of(directory.path());
  options.quota_bytes = 4 << 20;
  const std::unique_ptr<Store> store = open_store(std::move(options));
  const ModelShape shape = small_session("chat").shape;
  const SessionId id = store->create_session(small_session("chat")).value().id;
  Result<CommitInfo> commit = CommitInfo{};
  for (std::uint64_t n = 0; commit && n < 100'000; n += 500) {
    commit = append(*store, id, n + 500, {tail_upload(shape, n, n + 500, n)});
  }
  CHECK(commit.error().code == Errc::disk_full);
  CHECK(store->find_session(id));
}

}  // namespace
}  // namespace kvault
