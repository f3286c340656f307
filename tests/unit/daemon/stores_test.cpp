#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "daemon/namespace_file.hpp"
#include "daemon/stores.hpp"
#include "tests/unit/daemon/store_fixture.hpp"

namespace kvault {
namespace {

using namespace test;

SecretKey token_of(std::uint8_t seed) {
  return SecretKey::from_bytes(std::vector<std::byte>(kSecretKeySize, std::byte{seed})).value();
}

std::unique_ptr<Stores> open_stores(const std::filesystem::path& directory,
                                    std::uint64_t quota_bytes = 0) {
  StoreOptions options = options_of(directory);
  options.quota_bytes = quota_bytes;
  Result<std::unique_ptr<Stores>> stores = Stores::open(std::move(options));
  INFO((stores ? std::string() : stores.error().message));
  REQUIRE(stores);
  return std::move(*stores);
}

}  // namespace

TEST_CASE("short: stores: a namespace is made once, and entered with its token alone") {
  const TemporaryDirectory directory;
  for (const auto creation : {NamespaceCreation::plain, NamespaceCreation::encrypted}) {
    const bool encrypts = creation == NamespaceCreation::encrypted;
    CAPTURE(encrypts);
    const std::string name = encrypts ? "secret" : "open";
    const std::unique_ptr<Stores> stores = open_stores(directory.path());
    CHECK(stores->enter({name, token_of(1)}).error().code == Errc::not_found);
    const EnteredNamespace made = stores->enter({name, token_of(1), creation}).value();
    CHECK(made.is_encrypted == encrypts);
    CHECK(made.opened);
    CHECK(stores->enter({name, token_of(2)}).error().code == Errc::permission);
    CHECK(stores->enter({name, token_of(2), creation}).error().code == Errc::permission);
    const EnteredNamespace again = stores->enter({name, token_of(1)}).value();
    CHECK(again.store == made.store);
    CHECK(!again.opened);
    REQUIRE(stores->at(made.store).create_session(small_session("mine")));
    CHECK(stores->at(kSharedStore).list_sessions("", 9)->empty());
    REQUIRE(stores->at(kSharedStore).create_session(small_session("mine")));
    REQUIRE(stores->at(kSharedStore)
                .remove_session(stores->at(kSharedStore).find_session_by_name("mine")->id));
    stores->leave(made.store);
    CHECK(stores->find(made.store) != nullptr);
    stores->leave(made.store);
    CHECK(stores->find(made.store) == nullptr);
    CHECK(stores->enter({name, token_of(2)}).error().code == Errc::permission);
    const EnteredNamespace later = stores->enter({name, token_of(1)}).value();
    CHECK(later.store != made.store);
    CHECK(later.is_encrypted == encrypts);
    CHECK(stores->at(later.store).find_session_by_name("mine"));
    CHECK(stores->uses().size() == (encrypts ? 3 : 2));
  }
  const std::unique_ptr<Stores> stores = open_stores(directory.path());
  CHECK(stores->enter({"open", token_of(1), NamespaceCreation::encrypted}).error().code ==
        Errc::unsupported);
}

TEST_CASE(
    "short: stores: names that are no names of namespaces, files that are no files of theirs") {
  const TemporaryDirectory directory;
  const std::unique_ptr<Stores> stores = open_stores(directory.path());
  for (const std::string& name :
       {std::string(".."), std::string("a/b"), std::string(".hidden"), std::string("Upper"),
        std::string(65, 'a'), std::string("a b"), std::string("a\0b", 3)}) {
    CAPTURE(name);
    CHECK(stores->enter({name, token_of(1), NamespaceCreation::plain}).error().code ==
          Errc::invalid_argument);
  }
  REQUIRE(stores->enter({"x", token_of(1), NamespaceCreation::plain}));
  const auto file = directory.path() / "store" / "namespaces" / "x" / "namespace";
  const std::vector<char> whole = read_file(file);
  for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::vector<char> damaged = whole;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    write_file(file, damaged);
    CHECK(enter_namespace(file.parent_path(), token_of(1)).error().code == Errc::corrupt);
  }
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write_file(file, {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)});
    CHECK(!enter_namespace(file.parent_path(), token_of(1)));
  }
}

TEST_CASE("short: stores: the quota is one for all namespaces") {
  const TemporaryDirectory directory;
  constexpr std::uint64_t kQuota = 4U << 20U;
  const std::unique_ptr<Stores> stores = open_stores(directory.path(), kQuota);
  const ModelShape shape = small_session("").shape;
  const StoreNumber other = stores->enter({"x", token_of(1), NamespaceCreation::plain})->store;
  const auto fill = [&](Store& store, const std::string& name) {
    const SessionId id = store.create_session(small_session(name)).value().id;
    REQUIRE(store.hold(id));
    for (std::uint64_t page = 0;; ++page) {
      const auto added =
          append(store, id, (page + 1) * kPageTokens, {page_upload(shape, page, page)});
      if (!added) return added.error();
    }
  };
  CHECK(fill(stores->at(other), "greedy").code == Errc::disk_full);
  const std::uint64_t taken = stores->at(other).own_bytes();
  CHECK(taken > kQuota / 4);
  CHECK(stores->at(kSharedStore).stats()->disk_bytes > taken);
  CHECK(fill(stores->at(kSharedStore), "late").code == Errc::disk_full);
  CHECK(stores->at(other).own_bytes() + stores->at(kSharedStore).own_bytes() <= kQuota);
  // Closed, it still counts.
  stores->leave(other);
  CHECK(stores->at(kSharedStore).stats()->disk_bytes > taken);
}

TEST_CASE("short: stores: a namespace is removed with its keys by who is alone in it") {
  const TemporaryDirectory directory;
  const auto folder = directory.path() / "store" / "namespaces";
  for (const auto creation : {NamespaceCreation::plain, NamespaceCreation::encrypted}) {
    CAPTURE(creation == NamespaceCreation::encrypted);
    std::unique_ptr<Stores> stores = open_stores(directory.path());
    CHECK(stores->remove(kSharedStore).error().code == Errc::invalid_argument);
    const StoreNumber other =
        stores->enter({"other", token_of(3), NamespaceCreation::plain})->store;
    const StoreNumber number = stores->enter({"x", token_of(1), creation})->store;
    const SessionId id = stores->at(number).create_session(small_session("mine"))->id;
    REQUIRE(stores->at(number).hold(id));
    REQUIRE(stores->enter({"x", token_of(1)}));
    CHECK(stores->remove(number).error().code == Errc::busy);
    CHECK(stores->at(number).find_session(id));
    stores->leave(number);
    const std::uint64_t shared_bytes = stores->at(kSharedStore).stats()->disk_bytes;
    const Result<> removed = stores->remove(number);
    if (!removed) FAIL(removed.error().message);
    CHECK(stores->find(number) == nullptr);
    CHECK(stores->find(other) != nullptr);
    CHECK(stores->at(kSharedStore).stats()->disk_bytes < shared_bytes);
    stores->leave(number);  // what a connection does at its end
    CHECK(!std::filesystem::exists(folder / "x"));
    CHECK(stores->uses().size() == 2);
    // The name is free, for whoever comes first.
    CHECK(stores->enter({"x", token_of(2)}).error().code == Errc::not_found);
    const StoreNumber fresh = stores->enter({"x", token_of(2), creation})->store;
    CHECK(stores->at(fresh).list_sessions("", 9)->empty());
    REQUIRE(stores->remove(fresh));
    CHECK(stores->at(other).stats());
  }
}

TEST_CASE("short: stores: a removal that was cut short is ended by the next opening") {
  const TemporaryDirectory directory;
  const auto folder = directory.path() / "store" / "namespaces";
  const auto keys_in = [](const std::filesystem::path& store) {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(store / "keys")) {
      files.push_back(entry.path());
    }
    return files;
  };
  {
    const std::unique_ptr<Stores> stores = open_stores(directory.path());
    const auto entered = stores->enter({"x", token_of(1), NamespaceCreation::encrypted});
    REQUIRE(stores->at(entered->store).create_session(small_session("mine")));
    REQUIRE(stores->at(entered->store).create_session(small_session("too")));
  }
  REQUIRE(keys_in(folder / "x").size() == 2);
  // A second name for a key file shows what becomes of its bytes.
  const auto kept = directory.path() / "kept";
  std::filesystem::create_hard_link(keys_in(folder / "x")[0], kept);
  const std::vector<char> before = read_file(kept);
  std::filesystem::rename(folder / "x", folder / "x~removed");
  {
    const std::unique_ptr<Stores> stores = open_stores(directory.path());
    CHECK(!std::filesystem::exists(folder / "x~removed"));
    CHECK(stores->uses().size() == 1);
    const std::vector<char> after = read_file(kept);
    REQUIRE(after.size() == before.size());
    for (std::size_t i = 0; i < after.size(); ++i) {
      if (i % 4096 >= 4) REQUIRE(after[i] == 0);  // but for the magic of its two copies
    }
    // What is left of an older removal does not stand in the way, and housekeeping ends one too.
    const auto entered = stores->enter({"x", token_of(1), NamespaceCreation::plain});
    std::filesystem::create_directory(folder / "x~removed");
    REQUIRE(stores->remove(entered->store));
    std::filesystem::create_directory(folder / "y~removed");
    CHECK(stores->maintain().damage.empty());
    CHECK(std::filesystem::is_empty(folder));
  }
}

}  // namespace kvault
