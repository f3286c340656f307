#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "core/cache/cache.hpp"
#include "core/os/file.hpp"
#include "kvault/kvault.hpp"
#include "sdk/src/session.hpp"
#include "tests/e2e/daemon_process.hpp"
#include "tests/e2e/daemon_records.hpp"
#include "tests/support/chat.hpp"

// Sessions that come back layer by layer: the same bits as all at once, and what goes wrong with
// one layer is that layer's affair.

namespace kvault {
namespace {

using test::Chat;

constexpr std::uint32_t kLayers = 5;
constexpr std::uint64_t kTokens = 1000;

/// How a session is opened.
struct How {
  bool copy = false;
  bool stream = false;
  std::uint32_t deadline_ms = 0;
  client::Progress progress = {};
};

/// A chat of five equal layers, saved once, and a daemon that has it.
struct Saved {
  Chat chat;
  test::TemporaryDirectory directory;
  test::Daemon daemon{directory.path()};
  Client client = daemon.connect();
  std::unique_ptr<Device> device = test::open_cpu();

  explicit Saved(const Chat& fed) : chat(fed) {
    const auto stored = open({});
    REQUIRE_OK(stored);
    test::feed((*stored)->cache(), chat, 0, kTokens, 100);
    for (std::uint32_t layer = 0; layer < (*stored)->cache().n_layer(); ++layer) {
      if (chat.options.shape.layers[layer].kind != LayerKind::recurrent) continue;
      const std::vector<std::byte> state(4096, std::byte{77});
      REQUIRE_OK((*stored)->cache().set_state(LayerIndex(layer), Tokens(kTokens), state));
    }
    REQUIRE_OK((*stored)->save(ids(0, kTokens)));
  }

  /// Of head_dim 128 it is so large that a second thread verifies pieces ahead.
  static Chat uniform_chat(std::uint32_t head_dim = 32) {
    CacheOptions options = test::cache_options(Scheme::tq4, Scheme::tq3, head_dim);
    options.shape.layers.resize(kLayers, options.shape.layers[0]);
    return test::make_chat(options, kTokens + 200, 91);
  }
  static std::vector<std::uint32_t> ids(std::uint64_t first, std::uint64_t last) {
    return std::vector<std::uint32_t>(last - first, 7);
  }

  Result<std::unique_ptr<StoredCache>> open(const How& how) {
    SessionOptions options;
    options.description = {"chat", {{"weights", "abc"}}, chat.options.shape};
    options.cache = chat.options;
    options.create = true;
    options.copy = how.copy;
    options.stream = how.stream;
    options.deadline_ms = how.deadline_ms;
    options.progress = how.progress;
    return StoredCache::open(client, *device, std::move(options));
  }

  /// What the query of the last saved token gives in a layer.
  Result<std::vector<float>> attend(Cache& cache, std::uint32_t layer) const {
    std::vector<float> out;
    const AttendRequest request = chat.request(kTokens - 1, 1, out);
    KVAULT_CHECK(cache.attend(LayerIndex(layer), request));
    return out;
  }

  client::RecordPlace page_record(std::uint64_t page) {
    const auto opened = client.open_session("chat", nullptr, client::OpenMode::read);
    REQUIRE_OK(opened);
    const auto attachment = client.attach(opened->info.id);
    REQUIRE_OK(attachment);
    for (const client::RecordPlace& place : attachment->records) {
      if (place.kind == RecordKind::page && place.first_token == page * kPageTokens) return place;
    }
    FAIL("no such page");
    return {};
  }
};

void flip(const std::filesystem::path& path, std::uint64_t offset_bytes) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset_bytes));
  const int byte = file.get();
  file.seekp(static_cast<std::streamoff>(offset_bytes));
  file.put(static_cast<char>(byte ^ 0x10));
}

std::vector<std::vector<float>> attend_all(const Saved& saved, Cache& cache) {
  std::vector<std::vector<float>> outs;
  for (std::uint32_t layer = 0; layer < cache.n_layer(); ++layer) {
    if (!saved.chat.options.shape.layers[layer].has_attention()) continue;
    auto out = saved.attend(cache, layer);
    REQUIRE_OK(out);
    outs.push_back(std::move(*out));
  }
  return outs;
}

TEST_CASE("short: stream: layer by layer gives the bits of all at once, mapped or copied") {
  for (const std::uint32_t head_dim : {32U, 128U}) {
    CAPTURE(head_dim);
    Saved saved(Saved::uniform_chat(head_dim));
    std::vector<std::vector<float>> expected;
    std::vector<float> expected_next;
    {
      const auto whole = saved.open({});
      REQUIRE_OK(whole);
      CHECK((*whole)->cache().is_loaded(LayerIndex(kLayers - 1)));
      expected = attend_all(saved, (*whole)->cache());
      expected_next = test::feed((*whole)->cache(), saved.chat, kTokens, kTokens + 200, 64);
    }
    for (const bool copies : {false, true}) {
      CAPTURE(copies);
      std::uint64_t done = 0;
      std::uint64_t total = 0;
      const auto streamed = saved.open(
          {.copy = copies, .stream = true, .progress = [&](std::uint64_t d, std::uint64_t t) {
             CHECK(d >= done);
             done = d;
             total = t;
             return true;
           }});
      REQUIRE_OK(streamed);
      Cache& cache = (*streamed)->cache();
      CHECK(cache.n_token().raw == kTokens);
      CHECK(cache.is_level());
      CHECK(cache.stats().stored_size_bytes == 0);
      std::vector<std::vector<float>> outs;
      for (std::uint32_t layer = 0; layer < kLayers; ++layer) {
        CHECK(!cache.is_loaded(LayerIndex(layer)));
        if (layer % 2 == 0) REQUIRE_OK((*streamed)->load_layer(LayerIndex(layer)));
        auto out = saved.attend(cache, layer);
        REQUIRE_OK(out);
        outs.push_back(std::move(*out));
        CHECK(cache.is_loaded(LayerIndex(layer)));
      }
      CHECK(outs == expected);
      CHECK(done == total);
      CHECK(total > 0);
      CHECK(test::same_bits(test::feed(cache, saved.chat, kTokens, kTokens + 200, 64),
                            expected_next));
      REQUIRE_OK((*streamed)->load_layer(LayerIndex(1)));
      const auto beyond = (*streamed)->load_layer(LayerIndex(kLayers));
      REQUIRE(!beyond);
      CHECK(beyond.error().code == Errc::out_of_range);
    }
  }
}

TEST_CASE("short: stream: whatever uses a layer loads it, and nothing else") {
  Saved saved(Saved::uniform_chat());
  const auto whole = [&] { return std::move(*saved.open({})); };
  std::vector<float> rows(kTokens * saved.chat.key_size());
  std::vector<float> expected(rows.size());
  std::vector<std::byte> block;
  std::vector<std::byte> expected_block;
  {
    const auto stored = whole();
    REQUIRE_OK(
        stored->cache().read_rows(LayerIndex(4), Side::key, Tokens(0), Tokens(kTokens), expected));
    REQUIRE_OK(
        stored->cache().read_block(LayerIndex(2), PageIndex(3), Side::value, 1, expected_block));
  }
  const auto streamed = saved.open({.stream = true});
  REQUIRE_OK(streamed);
  Cache& cache = (*streamed)->cache();
  REQUIRE_OK(cache.read_rows(LayerIndex(4), Side::key, Tokens(0), Tokens(kTokens), rows));
  CHECK(test::same_bits(rows, expected));
  REQUIRE_OK(cache.read_block(LayerIndex(2), PageIndex(3), Side::value, 1, block));
  CHECK(block == expected_block);
  REQUIRE_OK(cache.append(LayerIndex(0), saved.chat.key_rows(kTokens, 1),
                          saved.chat.value_rows(kTokens, 1)));
  for (const std::uint32_t layer : {0U, 2U, 4U}) CHECK(cache.is_loaded(LayerIndex(layer)));
  for (const std::uint32_t layer : {1U, 3U}) CHECK(!cache.is_loaded(LayerIndex(layer)));
  Kept kept;
  auto fork = cache.fork(Tokens(500), &kept);
  REQUIRE_OK(fork);
  CHECK(cache.is_loaded(LayerIndex(3)));
  const auto rolled = cache.rollback(Tokens(500));
  REQUIRE_OK(rolled);
  CHECK(rolled->n_token == kept.n_token);
  const std::uint64_t first = kept.n_token.raw;
  CHECK(test::same_bits(test::feed(*fork, saved.chat, first, kTokens, 100),
                        test::feed(cache, saved.chat, first, kTokens, 50)));
}

TEST_CASE("short: stream: cancelled anywhere, a restore can be tried again") {
  for (const std::uint32_t head_dim : {32U, 128U}) {
    CAPTURE(head_dim);
    Saved saved(Saved::uniform_chat(head_dim));
    std::uint64_t stop_at = 0;
    const auto progress = [&](std::uint64_t done, std::uint64_t total) {
      return done < stop_at || stop_at > total;
    };
    stop_at = 60'000;
    const auto whole = saved.open({.progress = progress});
    REQUIRE(!whole);
    CHECK(whole.error().code == Errc::cancelled);
    CHECK(whole.error().message.find(" bytes") != std::string::npos);
    for (const bool copies : {false, true}) {
      stop_at = 60'000;
      const auto streamed = saved.open({.copy = copies, .stream = true, .progress = progress});
      REQUIRE_OK(streamed);
      const auto cut = (*streamed)->load_all();
      REQUIRE(!cut);
      CHECK(cut.error().code == Errc::cancelled);
      Cache& cache = (*streamed)->cache();
      CHECK(!cache.is_loaded(LayerIndex(kLayers - 1)));
      const auto attended = saved.attend(cache, kLayers - 1);
      REQUIRE(!attended);
      CHECK(attended.error().code == Errc::cancelled);
      stop_at = UINT64_MAX;
      REQUIRE_OK((*streamed)->load_all());
      attend_all(saved, cache);
    }
    REQUIRE_OK(saved.open({}));
  }
}

TEST_CASE("short: stream: damage late in a layer, where another thread looks, is found as well") {
  for (const std::uint32_t head_dim : {32U, 128U}) {
    CAPTURE(head_dim);
    Saved saved(Saved::uniform_chat(head_dim));
    const client::RecordPlace place = saved.page_record(4);  // 5 is history, and there as rows
    const std::vector<std::byte> bytes = test::read_record(place);
    const auto header = parse_head(bytes);
    REQUIRE_OK(header);
    const auto meta = parse_payload_meta(*header, bytes);
    REQUIRE_OK(meta);
    flip(place.pack_path,
         place.offset_bytes + header->payload_offset + meta->chunks[4].offset_bytes + 1);
    const auto streamed = saved.open({.stream = true});
    REQUIRE_OK(streamed);
    REQUIRE_OK((*streamed)->load_layer(LayerIndex(3)));
    const auto refused = (*streamed)->load_layer(LayerIndex(4));
    REQUIRE(!refused);
    CHECK(refused.error().code == Errc::corrupt);
    CHECK(refused.error().message.find("token 512") != std::string::npos);
    CHECK(refused.error().message.find("layer 4") != std::string::npos);
  }
}

TEST_CASE("short: stream: a damaged layer is refused by name, the others go on") {
  for (const std::uint32_t head_dim : {32U, 128U}) {
    CAPTURE(head_dim);
    Saved saved(Saved::uniform_chat(head_dim));
    std::vector<std::vector<float>> expected;
    {
      const auto whole = saved.open({});
      REQUIRE_OK(whole);
      expected = attend_all(saved, (*whole)->cache());
    }
    const client::RecordPlace place = saved.page_record(2);
    const std::vector<std::byte> bytes = test::read_record(place);
    const auto header = parse_head(bytes);
    REQUIRE_OK(header);
    const auto meta = parse_payload_meta(*header, bytes);
    REQUIRE_OK(meta);
    REQUIRE(meta->chunks[3].layer == 3);
    const std::uint64_t offset_bytes =
        place.offset_bytes + header->payload_offset + meta->chunks[3].offset_bytes + 1000;
    flip(place.pack_path, offset_bytes);
    {
      const auto streamed = saved.open({.stream = true});
      REQUIRE_OK(streamed);
      Cache& cache = (*streamed)->cache();
      for (const std::uint32_t layer : {0U, 1U, 2U, 4U}) {
        const auto out = saved.attend(cache, layer);
        REQUIRE_OK(out);
        CHECK(*out == expected[layer]);
      }
      for (int attempt = 0; attempt < 2; ++attempt) {
        const auto refused = saved.attend(cache, 3);
        REQUIRE(!refused);
        CHECK(refused.error().code == Errc::corrupt);
        CHECK(refused.error().message.find("layer 3") != std::string::npos);
        CHECK(refused.error().message.find("token 256") != std::string::npos);
      }
      CHECK(saved.attend(cache, 2).has_value());
    }
    const auto whole = saved.open({});
    REQUIRE(!whole);
    CHECK(whole.error().code == Errc::corrupt);
    flip(place.pack_path, offset_bytes);
    flip(place.pack_path, place.offset_bytes + kRecordHeaderSize + 5);  // a head: seen at open
    const auto opened = saved.open({.stream = true});
    REQUIRE(!opened);
    CHECK(opened.error().code == Errc::corrupt);
  }
}

TEST_CASE("short: stream: past its deadline a restore ends; the app begins anew without it") {
  for (const std::uint32_t head_dim : {32U, 128U}) {
    CAPTURE(head_dim);
    Saved saved(Saved::uniform_chat(head_dim));
    const auto slowly = [](std::uint64_t, std::uint64_t) {
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
      return true;
    };
    const auto whole = saved.open({.deadline_ms = 20, .progress = slowly});
    REQUIRE(!whole);
    CHECK(whole.error().code == Errc::timeout);
    CHECK(whole.error().message.find("20 ms") != std::string::npos);
    const auto streamed = saved.open({.stream = true, .deadline_ms = 20, .progress = slowly});
    REQUIRE_OK(streamed);
    const auto late = (*streamed)->load_all();
    REQUIRE(!late);
    CHECK(late.error().code == Errc::timeout);
    CHECK(late.error().message.find("bytes are loaded") != std::string::npos);
    const auto kept = (*streamed)->rollback(Tokens(0));
    REQUIRE_OK(kept);
    CHECK(kept->n_token.raw == 0);
    CHECK(kept->exact);
    Cache& cache = (*streamed)->cache();
    Cache fresh = test::make_cache(*saved.device, saved.chat);
    const auto again = test::feed(cache, saved.chat, 0, 300, 100);
    CHECK(test::same_bits(again, test::feed(fresh, saved.chat, 0, 300, 100)));
    REQUIRE_OK((*streamed)->save(Saved::ids(0, 300)));
  }
}

TEST_CASE("short: stream: saves of a session of which some layers are on the disk alone") {
  Saved saved(Saved::uniform_chat());
  const auto streamed = saved.open({.stream = true});
  REQUIRE_OK(streamed);
  Cache& cache = (*streamed)->cache();
  REQUIRE_OK(saved.attend(cache, 1));
  const auto nothing = (*streamed)->save({});
  REQUIRE_OK(nothing);
  CHECK(nothing->n_token == kTokens);
  CHECK(!cache.is_loaded(LayerIndex(0)));
  const auto out = test::feed(cache, saved.chat, kTokens, kTokens + 100, 100);
  REQUIRE_OK((*streamed)->save(Saved::ids(kTokens, kTokens + 100)));
  const auto next = test::feed(cache, saved.chat, kTokens + 100, kTokens + 200, 100);
  Cache fresh = test::make_cache(*saved.device, saved.chat);
  test::feed(fresh, saved.chat, 0, kTokens, 100);
  CHECK(test::same_bits(out, test::feed(fresh, saved.chat, kTokens, kTokens + 100, 100)));
  CHECK(test::same_bits(next, test::feed(fresh, saved.chat, kTokens + 100, kTokens + 200, 100)));
}

TEST_CASE("short: stream: sliding windows and recurrent states") {
  CacheOptions options = test::cache_options(Scheme::tq4, Scheme::tq4, 32);
  LayerSpec slides = options.shape.layers[0];
  slides.kind = LayerKind::sliding_window;
  slides.window = 200;
  slides.key_scheme = Scheme::raw;
  slides.value_scheme = Scheme::raw;
  options.shape.layers.push_back(slides);
  options.shape.layers.push_back({.kind = LayerKind::recurrent});
  options.shape.layers.push_back({.kind = LayerKind::none});
  Saved saved(test::make_chat(options, kTokens + 200, 92));
  Cache fresh = test::make_cache(*saved.device, saved.chat);
  test::feed(fresh, saved.chat, 0, kTokens, 100);
  const auto expected = attend_all(saved, fresh);
  for (const bool copies : {false, true}) {
    const auto streamed = saved.open({.copy = copies, .stream = true});
    REQUIRE_OK(streamed);
    Cache& cache = (*streamed)->cache();
    CHECK(cache.is_level());
    const auto outs = attend_all(saved, cache);
    CHECK(test::same_bits(outs[0], expected[0]));
    CHECK(test::same_bits(outs[1], expected[1]));
    CHECK(!cache.is_loaded(LayerIndex(2)));
    REQUIRE_OK((*streamed)->save({}));
    const auto state = cache.state(LayerIndex(2));
    REQUIRE_OK(state);
    CHECK(state->size() == 4096);
    CHECK((*state)[17] == std::byte{77});
    CHECK(cache.is_loaded(LayerIndex(2)));
  }
}

TEST_CASE("short: readers hold their packs, and come back to one that somebody else has locked") {
  Saved saved(Saved::uniform_chat());
  const std::filesystem::path path = saved.page_record(1).pack_path;
  {
    const auto stored = saved.open({});
    REQUIRE_OK(stored);
    auto other = File::open(path);
    REQUIRE_OK(other);
    const auto refused = other->lock_exclusive();
    REQUIRE(!refused);
    CHECK(refused.error().code == Errc::busy);
    CHECK(other->lock_shared().has_value());
  }
  auto other = File::open(path);
  REQUIRE_OK(other);
  REQUIRE_OK(other->lock_exclusive());
  const auto locked = saved.open({});
  REQUIRE(!locked);
  CHECK(locked.error().message.find("8 times") != std::string::npos);
  CHECK(locked.error().message.find("locked") != std::string::npos);
  std::thread releases([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    other->close();
  });
  const auto patient = saved.open({});
  releases.join();
  REQUIRE_OK(patient);
}

TEST_CASE("short: a pack that stays away is damage, by name") {
  Saved saved(Saved::uniform_chat());
  const std::filesystem::path path = saved.page_record(1).pack_path;
  std::filesystem::rename(path, path.native() + ".away");
  const auto missing = saved.open({});
  REQUIRE(!missing);
  CHECK(missing.error().code == Errc::corrupt);
  CHECK(missing.error().message.find(path.filename().native()) != std::string::npos);
  CHECK(missing.error().message.find("8 times") != std::string::npos);
}

TEST_CASE("short: stream: through kvault.hpp, over the C interface") {
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  static_cast<void>(daemon.connect());
  auto client = sdk::Client::connect({.auto_start = false,
                                      .socket_path = daemon.socket_path(),
                                      .data_directory = daemon.data_directory()});
  REQUIRE(client.is_ok());
  const kvault_layer layer = {KVAULT_FULL_ATTENTION, 2, 1, 32, 32, 0, KVAULT_TQ4, KVAULT_TQ4};
  const std::vector<kvault_layer> layers(3, layer);
  const std::vector<float> rows(600 * 32, 0.5F);
  sdk::SessionOptions options = {
      .name = "chat", .cache = {.layers = layers, .row_type = KVAULT_F32}, .create = true};
  {
    auto session = sdk::Session::open(client.value(), options);
    REQUIRE(session.is_ok());
    for (std::uint32_t i = 0; i < 3; ++i) {
      REQUIRE(session->cache()
                  .append(i, {.data = rows, .n_token = 600}, {.data = rows, .n_token = 600})
                  .is_ok());
    }
    REQUIRE(session->save(std::vector<std::uint32_t>(600, 3)).is_ok());
  }
  options.stream = true;
  options.deadline_ms = 60'000;
  std::uint64_t done = 0;
  options.progress = [&](std::uint64_t bytes, std::uint64_t) {
    done = bytes;
    return true;
  };
  auto session = sdk::Session::open(client.value(), options);
  REQUIRE(session.is_ok());
  CHECK(done == 0);
  CHECK(session->cache().n_token() == 600);
  CHECK(session->cache().stats()->stored_size_bytes == 0);
  REQUIRE(session->load_layer(0).is_ok());
  const std::uint64_t one = done;
  CHECK(one > 0);
  CHECK(session->load_layer(3).status() == KVAULT_OUT_OF_RANGE);
  std::vector<float> back(32);
  REQUIRE(
      session->cache()
          .read_rows(1, {.first_token = 599, .n_token = 1}, std::as_writable_bytes(std::span(back)))
          .is_ok());
  CHECK(back[7] == 0.5F);
  REQUIRE(session->load_all().is_ok());
  CHECK(done == 3 * one);
  CHECK(session->cache().stats()->stored_size_bytes > 0);
}

}  // namespace
}  // namespace kvault
