#include <doctest/doctest.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "daemon/pack.hpp"
#include "daemon/rebuild.hpp"
#include "tests/unit/daemon/store_fixture.hpp"

/// What a crash, a failing disk or a careless hand leaves behind, and what open() makes of it.
namespace kvault {
namespace {

using namespace test;

/// A store as it was before and after its last commit, in two directories.
struct TwoStates {
  TemporaryDirectory before;
  TemporaryDirectory after;
  std::string content_before;
  std::string content_after;
};

void make_two_states(TwoStates& states) {
  const SessionDescription description = small_session("chat");
  const ModelShape& shape = description.shape;
  std::unique_ptr<Store> store = open_store(states.before.path());
  const SessionId id = store->create_session(description)->id;
  REQUIRE(store->create_session(small_session("bystander")));
  REQUIRE(append(*store, id, 150, {page_upload(shape, 0, 1), tail_upload(shape, 0, 150, 2)}));
  store.reset();
  // From here on new packs are written; the state before ends in the middle of them.
  store = open_store(states.before.path());
  REQUIRE(append(*store, id, 260, {page_upload(shape, 1, 3), tail_upload(shape, 150, 260, 4)}));
  states.content_before = content_of(*store);
  copy_store(states.before.path(), states.after.path());
  store.reset();
  StoreOptions options = options_of(states.after.path());
  // The copy of a running store: the last commit goes on in the same packs, as it would have.
  store = open_store(states.after.path());
  REQUIRE(append(*store, id, 390, {page_upload(shape, 2, 5), tail_upload(shape, 260, 390, 6)}));
  states.content_after = content_of(*store);
}

std::vector<std::string> packs_of(const std::filesystem::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory / "store" / "packs")) {
    names.push_back(entry.path().filename());
  }
  return names;
}

TEST_CASE("store: packs cut at every 512 bytes after the last acknowledged commit: that commit") {
  TwoStates states;
  make_two_states(states);
  const TemporaryDirectory crashed;
  for (const std::string& name : packs_of(states.after.path())) {
    const std::vector<char> whole = read_file(pack_path(states.after.path(), name));
    const bool is_new = !std::filesystem::exists(pack_path(states.before.path(), name));
    const std::size_t acknowledged =
        is_new ? 0 : read_file(pack_path(states.before.path(), name)).size();
    for (std::size_t size = acknowledged; size < whole.size(); size += 512) {
      CAPTURE(name);
      CAPTURE(size);
      // The packs reached the medium up to `size`, the catalog's transaction did not begin.
      copy_store(states.before.path(), crashed.path());
      for (const std::string& other : packs_of(states.after.path())) {
        std::filesystem::copy_file(pack_path(states.after.path(), other),
                                   pack_path(crashed.path(), other),
                                   std::filesystem::copy_options::overwrite_existing);
      }
      std::filesystem::resize_file(pack_path(crashed.path(), name), size);
      CHECK(recover(crashed.path()) == states.content_before);
      // The same without a catalog.
      remove_catalog(crashed.path());
      const std::string rebuilt = recover(crashed.path());
      CHECK(rebuilt == states.content_before);
    }
  }
}

TEST_CASE("store: packs shorter than their catalog: the newest whole commit, and a report") {
  TwoStates states;
  make_two_states(states);
  const TemporaryDirectory crashed;
  for (const std::string& name : packs_of(states.after.path())) {
    if (std::filesystem::exists(pack_path(states.before.path(), name))) continue;
    const std::size_t whole = read_file(pack_path(states.after.path(), name)).size();
    for (std::size_t size = 0; size < whole; size += 4096 + 512) {
      CAPTURE(name);
      CAPTURE(size);
      copy_store(states.after.path(), crashed.path());
      std::filesystem::resize_file(pack_path(crashed.path(), name), size);
      const std::unique_ptr<Store> store = open_store(crashed.path());
      CHECK(store->open_report().is_catalog_rebuilt);
      CHECK_FALSE(store->open_report().damage.empty());
      CHECK_FALSE(store->open_report().quarantined_catalog.empty());
      CHECK(content_of(*store) == states.content_before);
    }
  }
}

TEST_CASE("store: blocks of the last commit that never reached the disk: never served") {
  TwoStates states;
  make_two_states(states);
  const TemporaryDirectory crashed;
  for (const std::string& name : packs_of(states.after.path())) {
    if (std::filesystem::exists(pack_path(states.before.path(), name))) continue;
    const std::vector<char> whole = read_file(pack_path(states.after.path(), name));
    for (std::size_t begin = 4096; begin < whole.size(); begin += 512) {
      std::vector<char> torn = whole;
      const std::size_t end = std::min(begin + 512, whole.size());
      std::fill(torn.begin() + static_cast<std::ptrdiff_t>(begin),
                torn.begin() + static_cast<std::ptrdiff_t>(end), '\0');
      if (torn == whole) continue;
      CAPTURE(name);
      CAPTURE(begin);
      copy_store(states.after.path(), crashed.path());
      write_file(pack_path(crashed.path(), name), torn);
      remove_catalog(crashed.path());
      CHECK(recover(crashed.path()) == states.content_before);
    }
  }
}

TEST_CASE("store: a catalog deleted, emptied or scribbled on: everything is there again") {
  const TemporaryDirectory directory;
  const TemporaryDirectory damaged;
  std::string content;
  {
    const std::unique_ptr<Store> store = open_store(directory.path());
    const SessionDescription description = small_session("chat", true);
    const ModelShape& shape = description.shape;
    const SessionId id = store->create_session(description)->id;
    const SessionId gone = store->create_session(small_session("gone"))->id;
    REQUIRE(
        append(*store, id, 300,
               {page_upload(shape, 0), tail_upload(shape, 0, 300), snapshot_upload(shape, 300)}));
    REQUIRE(append(*store, id, 310, {tail_upload(shape, 300, 310), snapshot_upload(shape, 310)}));
    REQUIRE(roll_back(*store, id, 300, 1));
    REQUIRE(store->remove_session(gone));
    content = content_of(*store);
  }
  const std::filesystem::path path = damaged.path() / "store" / "catalog.sqlite";
  const std::vector<char> catalog = read_file(directory.path() / "store" / "catalog.sqlite");
  REQUIRE(catalog.size() > 8192);
  std::map<std::string, std::vector<char>> cases;
  cases["empty"] = {};
  cases["text"] = std::vector<char>(10000, 'x');
  cases["half"] = {catalog.begin(), catalog.begin() + 6000};
  cases["second page"] = catalog;
  std::fill_n(cases["second page"].begin() + 4096, 4096, '\x5A');
  cases["version"] = catalog;
  cases["version"][63] = 99;
  for (const auto& damage : cases) {
    const std::string& name = damage.first;
    CAPTURE(name);
    copy_store(directory.path(), damaged.path());
    write_file(path, damage.second);
    {
      const std::unique_ptr<Store> store = open_store(damaged.path());
      CHECK(store->open_report().is_catalog_rebuilt);
      CHECK(store->open_report().quarantined_catalog.empty() == (name == "empty"));
      CHECK(store->open_report().damage.empty());
      CHECK(content_of(*store) == content);
      REQUIRE(store->create_session(small_session("later")));
    }
    const std::unique_ptr<Store> store = open_store(damaged.path());
    CHECK_FALSE(store->open_report().is_catalog_rebuilt);
    CHECK(store->open_report().n_session == 2);
  }
  copy_store(directory.path(), damaged.path());
  remove_catalog(damaged.path());
  CHECK(recover(damaged.path()) == content);
}

TEST_CASE("store: a catalog older than the packs is not believed") {
  TwoStates states;
  make_two_states(states);
  const TemporaryDirectory mixed;
  copy_store(states.after.path(), mixed.path());
  remove_catalog(mixed.path());
  {  // the catalog of an older opening, as a backup would bring it back
    const std::unique_ptr<Store> old = open_store(states.before.path());
  }
  const TemporaryDirectory oldest;
  { const std::unique_ptr<Store> store = open_store(oldest.path()); }
  std::filesystem::copy_file(oldest.path() / "store" / "catalog.sqlite",
                             mixed.path() / "store" / "catalog.sqlite");
  const std::unique_ptr<Store> store = open_store(mixed.path());
  CHECK(store->open_report().is_catalog_rebuilt);
  CHECK(content_of(*store) == states.content_after);
}

TEST_CASE("store: a damaged pack header or commit costs what it must and deletes nothing") {
  TwoStates states;
  make_two_states(states);
  const TemporaryDirectory damaged;
  const std::vector<std::string> names = packs_of(states.after.path());
  for (const std::string& name : names) {
    copy_store(states.after.path(), damaged.path());
    remove_catalog(damaged.path());
    std::vector<char> bytes = read_file(pack_path(damaged.path(), name));
    bytes[17] = static_cast<char>(bytes[17] ^ 1);
    write_file(pack_path(damaged.path(), name), bytes);
    const std::unique_ptr<Store> store = open_store(damaged.path());
    CHECK_FALSE(store->open_report().damage.empty());
    CHECK(content_of(*store) == states.content_after);
  }
  // Every commit record of the chat is damaged: it cannot be restored, and nothing is deleted.
  copy_store(states.after.path(), damaged.path());
  remove_catalog(damaged.path());
  for (const std::string& name : names) {
    if (!name.starts_with("log-")) continue;
    std::vector<char> bytes = read_file(pack_path(damaged.path(), name));
    for (std::size_t at = 4096; at < bytes.size(); at += 4096) {
      if (std::equal(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                     bytes.begin() + static_cast<std::ptrdiff_t>(at) + 4, "KVR1")) {
        bytes[at + 40] = static_cast<char>(bytes[at + 40] ^ 1);
      }
    }
    write_file(pack_path(damaged.path(), name), bytes);
  }
  for (int opening = 0; opening < 2; ++opening) {
    const std::unique_ptr<Store> store = open_store(damaged.path());
    CHECK(store->open_report().is_catalog_rebuilt == (opening == 0));
    CHECK(store->open_report().n_session == 0);
    CHECK(store->open_report().n_pack_deleted == 0);
  }
  for (const std::string& name : names) {
    CHECK(std::filesystem::exists(pack_path(damaged.path(), name)));
  }
}

/// Options whose store loses its catalog's transactions while `is_failing`.
StoreOptions failing_catalog(const std::filesystem::path& directory, bool& is_failing) {
  StoreOptions options = options_of(directory);
  options.on_step = [&is_failing](StoreStep step, const std::filesystem::path&) -> Result<> {
    if (!is_failing || step != StoreStep::update_catalog) return {};
    return fail(Errc::disk_full, "no space is left, says the test");
  };
  return options;
}

TEST_CASE("store: what was not acknowledged never wins over what was, in a rebuild neither") {
  const TemporaryDirectory directory;
  bool is_failing = false;
  const SessionDescription description = small_session("chat");
  const ModelShape& shape = description.shape;
  std::unique_ptr<Store> store = open_store(failing_catalog(directory.path(), is_failing));
  const SessionId id = store->create_session(description)->id;
  REQUIRE(append(*store, id, 5, {tail_upload(shape, 0, 5, 1)}));
  is_failing = true;  // commit 2 and a session reach the log, and nobody is told
  CHECK(append(*store, id, 9, {tail_upload(shape, 5, 9, 2)}).error().code == Errc::disk_full);
  CHECK(store->create_session(small_session("twice")).error().code == Errc::disk_full);
  CHECK(store->find_session(id)->commit_number == 1);
  is_failing = false;
  store.reset();
  store = open_store(directory.path());
  CHECK(store->find_session(id)->commit_number == 1);
  CHECK(store->find_session_by_name("twice").error().code == Errc::not_found);
  REQUIRE(append(*store, id, 7, {tail_upload(shape, 5, 7, 3)}));  // another commit 2
  const SessionId twice = store->create_session(small_session("twice"))->id;
  const std::string content = content_of(*store);
  store.reset();
  remove_catalog(directory.path());
  store = open_store(directory.path());
  CHECK(store->open_report().damage.empty());
  CHECK(content_of(*store) == content);
  CHECK(store->find_session_by_name("twice")->id == twice);
}

TEST_CASE("store: two sessions of one name after lost removals: both are kept, one is renamed") {
  const TemporaryDirectory directory;
  const std::string name(250, 'n');
  const SessionDescription description = small_session(name);
  std::unique_ptr<Store> store = open_store(directory.path());
  REQUIRE(store->create_session(small_session("keeps the first log")));
  const SessionId old = store->create_session(description)->id;
  REQUIRE(append(*store, old, 5, {tail_upload(description.shape, 0, 5)}));
  store.reset();
  store = open_store(directory.path());
  REQUIRE(store->remove_session(old));  // its tombstone is alone in log-000002
  store.reset();
  store = open_store(directory.path());
  const SessionId young = store->create_session(description)->id;
  REQUIRE(append(*store, young, 6, {tail_upload(description.shape, 0, 6)}));
  store.reset();
  std::filesystem::remove(pack_path(directory.path(), "log-000002.pack"));
  remove_catalog(directory.path());
  store = open_store(directory.path());
  CHECK(store->find_session_by_name(name)->id == young);
  const SessionInfo found = store->find_session(old).value();
  CHECK(found.name.size() == 255);
  CHECK(found.name.ends_with(message("(", to_hex(old), ")")));
  CHECK(found.n_token == 5);
}

TEST_CASE("store: a record that was written to another pack is not believed") {
  const TemporaryDirectory directory;
  const TemporaryDirectory other;
  std::unique_ptr<Store> store = open_store(directory.path());
  const SessionId id = store->create_session(small_session("chat"))->id;
  const std::string content = content_of(*store);
  store.reset();
  copy_store(directory.path(), other.path());
  store = open_store(other.path());
  REQUIRE(store->remove_session(id));
  store.reset();
  // The tombstone, pasted into our own log.
  std::vector<char> bytes = read_file(pack_path(directory.path(), "log-000001.pack"));
  const std::vector<char> foreign = read_file(pack_path(other.path(), "log-000002.pack"));
  bytes.insert(bytes.end(), foreign.begin() + 4096, foreign.end());
  write_file(pack_path(directory.path(), "log-000001.pack"), bytes);
  remove_catalog(directory.path());
  store = open_store(directory.path());
  CHECK(content_of(*store) == content);
  CHECK(store->open_report().damage.size() == 1);
}

TEST_CASE("store: a pack that cannot be read during a rebuild is an error, not an older state") {
  TwoStates states;
  make_two_states(states);
  const std::filesystem::path directory = states.after.path();
  const std::filesystem::path aside = directory / "aside";
  const Result<PackSet> packs = PackSet::open(
      {.directory = directory / "store" / "packs", .pack_size_bytes_max = 1 << 20U, .on_step = {}});
  REQUIRE(packs);
  REQUIRE(rebuild_from_packs(*packs, NamespaceKey{}));
  for (const std::string& name : packs_of(directory)) {
    CAPTURE(name);
    // A link is refused by the system (ELOOP), whoever runs the test.
    std::filesystem::rename(pack_path(directory, name), aside);
    std::filesystem::create_symlink(aside, pack_path(directory, name));
    const Result<Rebuilt> rebuilt = rebuild_from_packs(*packs, NamespaceKey{});
    CHECK((!rebuilt && rebuilt.error().code == Errc::io));
    std::filesystem::remove(pack_path(directory, name));
    std::filesystem::rename(aside, pack_path(directory, name));
  }
}

}  // namespace
}  // namespace kvault
