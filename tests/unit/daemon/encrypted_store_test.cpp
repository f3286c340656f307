#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "core/format/bytes.hpp"
#include "tests/unit/daemon/store_fixture.hpp"

// A store with a secret: nothing of what it keeps lies on the disk in the clear, and with a key all
// that it sealed is gone.

namespace kvault {
namespace {

using namespace test;
namespace fs = std::filesystem;

SecretKey secret_of(std::uint64_t seed) {
  Random random(seed);
  std::vector<std::byte> bytes(kSecretKeySize);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next() & 0xFFU);
  return SecretKey::from_bytes(bytes).value();
}

StoreOptions encrypted(const fs::path& directory, std::uint64_t seed = 1) {
  StoreOptions options = options_of(directory);
  options.secret = secret_of(seed);
  return options;
}

constexpr const char* kName = "a diary nobody may see";
constexpr const char* kLabel = "label-of-the-diary";

/// 300 tokens, then 400, in two commits.
SessionId diary(Store& store) {
  SessionDescription description = small_session(kName);
  description.identity = {{"weights", "model-behind-the-diary"}};
  const ModelShape& shape = description.shape;
  const SessionId id = store.create_session(description).value().id;
  REQUIRE(append(store, id, 300, {tail_upload(shape, 0, 300, 5), page_upload(shape, 0, 6)}));
  REQUIRE(append(store, id, 400, {page_upload(shape, 1, 7), tail_upload(shape, 300, 400, 8)}));
  REQUIRE(store.update_session(id, {.labels = {{kLabel}}}));
  return id;
}

std::vector<fs::path> files_below(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  return files;
}

bool contains(const std::vector<char>& file, std::string_view text) {
  return std::search(file.begin(), file.end(), text.begin(), text.end()) != file.end();
}

std::string as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

fs::path key_path(const fs::path& directory, const SessionId& id) {
  return directory / "store" / "keys" / (to_hex(id) + ".key");
}

/// 40 token ids as they would lie in a record.
std::string token_text(std::uint32_t first) {
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  for (std::uint32_t i = 0; i < 40; ++i) writer.put(first + i);
  return as_text(bytes);
}

}  // namespace

TEST_CASE("short: encrypted store: no name, label, identity, token or payload lies in the clear") {
  const ModelShape shape = small_session("").shape;
  const Upload page = page_upload(shape, 1, 7);
  const std::string payload = as_text(std::span(page.payload).first(64));
  for (const bool is_encrypted : {false, true}) {
    CAPTURE(is_encrypted);
    const TemporaryDirectory directory;
    const StoreOptions options =
        is_encrypted ? encrypted(directory.path()) : options_of(directory.path());
    {
      const std::unique_ptr<Store> store = open_store(options);
      diary(*store);
    }
    // What would be found, were it not encrypted, must be found then, or the search is no proof.
    for (const std::string& text :
         {std::string(kName), std::string(kLabel), std::string("model-behind-the-diary"),
          token_text(10), token_text(310), payload}) {
      bool is_found = false;
      for (const fs::path& file : files_below(directory.path())) {
        is_found = is_found || contains(read_file(file), text);
      }
      CHECK(is_found == !is_encrypted);
    }
  }
}

TEST_CASE("short: encrypted store: the same sessions after reopening and after a rebuild") {
  const TemporaryDirectory directory;
  std::string content;
  {
    const std::unique_ptr<Store> store = open_store(encrypted(directory.path()));
    const SessionId id = diary(*store);
    REQUIRE(store->create_session(small_session("another")));
    content = content_of(*store);
    CHECK(store->find_session_by_name(kName)->id == id);
    CHECK(store->find_session_by_name(kName)->attributes.labels ==
          std::vector<std::string>{kLabel});
    CHECK(store->create_session(small_session(kName)).error().code == Errc::already_exists);
    CHECK(store->find_session_by_name("nobody").error().code == Errc::not_found);
    CHECK(store->list_sessions("", 1)->size() == 1);
    const std::string first = store->list_sessions("", 1)->front().name;
    CHECK(store->list_sessions(first, 9)->size() == 1);
    CHECK(store->verify(std::nullopt)->damage.empty());
  }
  const auto sorted = [](std::string text) {
    std::vector<std::string> lines;
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = text.find("\n'", begin);
      lines.push_back(text.substr(begin, end == std::string::npos ? end : end + 1 - begin));
      begin = end == std::string::npos ? text.size() : end + 1;
    }
    std::sort(lines.begin(), lines.end());
    return lines;
  };
  for (const bool rebuilds : {false, true}) {
    CAPTURE(rebuilds);
    if (rebuilds) remove_catalog(directory.path());
    const std::unique_ptr<Store> store = open_store(encrypted(directory.path()));
    CHECK(store->open_report().is_catalog_rebuilt == rebuilds);
    CHECK(store->open_report().damage.empty());
    CHECK(sorted(content_of(*store)) == sorted(content));
    CHECK(store->verify(std::nullopt)->damage.empty());
  }
}

TEST_CASE("short: encrypted store: another secret, none, or one too late is refused") {
  const TemporaryDirectory directory;
  std::string content;
  {
    const std::unique_ptr<Store> store = open_store(encrypted(directory.path()));
    diary(*store);
    content = content_of(*store);
  }
  CHECK(Store::open(options_of(directory.path())).error().code == Errc::permission);
  // kvaultd asks for the token before; should it come here all the same, nothing is taken for
  // damage.
  CHECK(Store::open(encrypted(directory.path(), 2)).error().code == Errc::permission);
  const std::unique_ptr<Store> store = open_store(encrypted(directory.path()));
  CHECK(content_of(*store) == content);

  const TemporaryDirectory plain;
  { const std::unique_ptr<Store> other = open_store(plain.path()); }
  CHECK(Store::open(encrypted(plain.path())).error().code == Errc::unsupported);
}

TEST_CASE("short: encrypted store: forks share a key, and the last one takes it along") {
  const TemporaryDirectory directory;
  const std::unique_ptr<Store> store = open_store(encrypted(directory.path()));
  const SessionId id = diary(*store);
  const fs::path key = key_path(directory.path(), id);
  const ForkInfo fork = store->fork_session(id, 400, "fork").value();
  CHECK(store->key_of(id).value()->key == store->key_of(fork.info.id).value()->key);
  CHECK(store->destroy_session(id).error().code == Errc::busy);
  const std::string content = content_of(*store, fork.info);
  REQUIRE(store->remove_session(id));
  CHECK(fs::exists(key));
  CHECK(content_of(*store, fork.info) == content);
  REQUIRE(store->destroy_session(fork.info.id));
  CHECK(!fs::exists(key));
  CHECK(store->destroy_session(fork.info.id).error().code == Errc::not_found);

  const TemporaryDirectory plain;
  const std::unique_ptr<Store> other = open_store(plain.path());
  const SessionId in_the_clear = other->create_session(small_session("x")).value().id;
  CHECK(other->destroy_session(in_the_clear).error().code == Errc::unsupported);
  CHECK(other->find_session(in_the_clear));
}

TEST_CASE("short: encrypted store: a destroyed session does not come back from a copy") {
  const TemporaryDirectory directory;
  const TemporaryDirectory copy;
  {
    const std::unique_ptr<Store> store = open_store(encrypted(directory.path()));
    const SessionId id = diary(*store);
    REQUIRE(store->create_session(small_session("another")));
    copy_store(directory.path(), copy.path());
    REQUIRE(store->destroy_session(id));
    // The packs and the catalog of before, as a backup has them; but no key.
    fs::remove(key_path(copy.path(), id));
  }
  const std::unique_ptr<Store> store = open_store(encrypted(copy.path()));
  CHECK(store->open_report().is_catalog_rebuilt);
  // Whether the key was destroyed or lost nobody knows: it is told, and the packs stay.
  CHECK(!store->open_report().damage.empty());
  CHECK(store->list_sessions("", 10)->size() == 1);
  CHECK(store->find_session_by_name("another"));
  CHECK(store->find_session_by_name(kName).error().code == Errc::not_found);
}

TEST_CASE(
    "short: encrypted store: one copy of a key may be damaged; both lose that session alone") {
  const TemporaryDirectory directory;
  SessionId id;
  std::string content;
  {
    const std::unique_ptr<Store> store = open_store(encrypted(directory.path()));
    id = diary(*store);
    REQUIRE(store->create_session(small_session("another")));
    content = content_of(*store);
  }
  const fs::path key = key_path(directory.path(), id);
  const std::vector<char> whole = read_file(key);
  REQUIRE(whole.size() == 8192);
  for (const std::size_t copy : {0U, 4096U}) {
    for (std::size_t at = 0; at < 104; at += 5) {
      std::vector<char> damaged = whole;
      damaged[copy + at] = static_cast<char>(damaged[copy + at] ^ 4);
      write_file(key, damaged);
      const std::unique_ptr<Store> store = open_store(encrypted(directory.path()));
      CHECK(content_of(*store) == content);
    }
  }
  std::vector<char> damaged = whole;
  damaged[50] = static_cast<char>(damaged[50] ^ 1);
  damaged[4096 + 50] = static_cast<char>(damaged[4096 + 50] ^ 1);
  write_file(key, damaged);
  {
    const std::unique_ptr<Store> store = open_store(encrypted(directory.path()));
    CHECK(store->list_sessions("", 10)->size() == 1);
    CHECK(store->find_session_by_name("another"));
    REQUIRE(!store->open_report().damage.empty());
    CHECK(store->open_report().damage.front().find(to_hex(id)) != std::string::npos);
    CHECK(store->open_report().damage.front().find(kName) == std::string::npos);
  }
  { const std::unique_ptr<Store> again = open_store(encrypted(directory.path())); }
  // Nothing was thrown away: with the key from a backup, and the catalog made anew, it is back.
  write_file(key, whole);
  remove_catalog(directory.path());
  const std::unique_ptr<Store> store = open_store(encrypted(directory.path()));
  CHECK(store->find_session_by_name(kName)->n_token == 400);
}

TEST_CASE("short: encrypted store: a record in the clear is not taken for one of its own") {
  const TemporaryDirectory directory;
  const std::unique_ptr<Store> store = open_store(encrypted(directory.path()));
  const SessionId id = diary(*store);
  const Attachment attachment = store->attach(id).value();
  OneKey keys(*store->key_of(id).value());
  for (const RecordLocation& location : attachment.records) {
    const std::vector<std::byte> record = read_record(location);
    const std::vector<std::byte> plain = unseal_record(record, keys).value();
    CHECK(verify_record(plain));
    CHECK(verify_record(plain, &keys).error().code == Errc::corrupt);
    CHECK(verify_record(record).error().code == Errc::unsupported);
    OneKey others({id, secret_of(77)});
    CHECK(verify_record(record, &others).error().code == Errc::corrupt);
  }
  // A draft of plain sizes is no draft of this store.
  const Upload upload = tail_upload(small_session("").shape, 400, 410);
  CHECK(store->begin_record(id, upload.draft).error().code == Errc::shape_mismatch);
}

TEST_CASE("short: encrypted store: compaction moves what is sealed, matches find it") {
  const TemporaryDirectory directory;
  StoreOptions options = encrypted(directory.path());
  options.pack_size_bytes_max = 64U << 10U;
  const std::unique_ptr<Store> store = open_store(options);
  const SessionId id = diary(*store);
  SessionDescription description = small_session("new chat");
  description.identity = {{"weights", "model-behind-the-diary"}};
  std::vector<std::uint32_t> ids(256);
  for (std::uint32_t i = 0; i < 256; ++i) ids[i] = i;
  const MatchInfo match = store->match(description, ids).value();
  REQUIRE(match.session);
  CHECK(match.session->id == id);
  CHECK(match.n_token == 256);
  // Much that is dead, between what lives.
  for (int i = 0; i < 20; ++i) {
    const SessionId other = store->create_session(small_session("other")).value().id;
    REQUIRE(append(*store, other, 128, {page_upload(description.shape, 0, 9)}));
    REQUIRE(store->remove_session(other));
  }
  const std::string content = content_of(*store);
  std::uint64_t moved_bytes = 0;
  for (int i = 0; i < 50; ++i) moved_bytes += store->maintain()->moved_bytes;
  CHECK(moved_bytes > 0);
  CHECK(content_of(*store) == content);
  CHECK(store->verify(std::nullopt)->damage.empty());
}

}  // namespace kvault
