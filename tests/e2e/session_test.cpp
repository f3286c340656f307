#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "core/cache/cache.hpp"
#include "sdk/src/session.hpp"
#include "tests/e2e/daemon_process.hpp"
#include "tests/support/chat.hpp"

// Sessions through a real kvaultd: whatever was saved comes back with the same bits, or not at all.

namespace kvault {
namespace {

using test::Chat;

std::vector<std::uint32_t> ids(std::uint64_t first, std::uint64_t last) {
  std::vector<std::uint32_t> values;
  for (std::uint64_t token = first; token < last; ++token) {
    values.push_back(static_cast<std::uint32_t>(token * 7 + 1));
  }
  return values;
}

/// One life of an app: a client, a device, an open session.
struct Life {
  Client client;
  std::unique_ptr<Device> device = test::open_cpu();
  std::unique_ptr<StoredCache> stored;

  Life(const test::Daemon& daemon, const Chat& chat, bool copy = false) : client(daemon.connect()) {
    auto opened = open(chat, copy);
    if (!opened) FAIL(opened.error().message);
    stored = std::move(*opened);
  }
  Result<std::unique_ptr<StoredCache>> open(const Chat& chat, bool copy) {
    SessionOptions options;
    options.description = {"chat", {{"weights", "abc"}}, chat.options.shape};
    options.cache = chat.options;
    options.create = true;
    options.copy = copy;
    return StoredCache::open(client, *device, std::move(options));
  }
  void save(std::uint64_t first, std::uint64_t last) {
    const auto saved = stored->save(ids(first, last));
    if (!saved) FAIL(saved.error().message);
    CHECK(saved->n_token == last);
  }
};

TEST_CASE("short: sessions of every preset come back with the same bits, kill -9 between turns") {
  const std::uint64_t ends[] = {100, 128, 200, 256, 300, 384, 700, 701, 1000};
  for (const Preset& preset : presets()) {
    CAPTURE(std::string(preset.name));
    const Chat chat = test::make_chat(test::cache_options(preset.key, preset.value), 1000, 71);
    const auto device = test::open_cpu();
    Cache fresh = test::make_cache(*device, chat);
    const std::vector<float> expected = test::feed(fresh, chat, 0, 1000, 64);
    const test::TemporaryDirectory directory;
    std::vector<float> out;
    std::uint64_t begin = 0;
    for (const std::uint64_t end : ends) {
      test::Daemon daemon(directory.path());
      Life life(daemon, chat, end % 2 == 1);
      CHECK(life.stored->cache().n_token().raw == begin);
      const auto kept_ids = life.stored->token_ids();
      CHECK(std::vector<std::uint32_t>(kept_ids.begin(), kept_ids.end()) == ids(0, begin));
      const std::vector<float> part = test::feed(life.stored->cache(), chat, begin, end, 50);
      out.insert(out.end(), part.begin(), part.end());
      life.save(begin, end);
      begin = end;
      daemon.kill();
    }
    CHECK(test::same_bits(out, expected));
  }
}

TEST_CASE("short: rollback, save, resume: exact within the tail, at a page boundary before it") {
  const Chat chat = test::make_chat(test::cache_options(Scheme::tq4, Scheme::tq3), 1200, 72);
  const auto device = test::open_cpu();
  for (const std::uint64_t back_to : {1000U, 900U, 800U, 500U, 100U, 0U}) {
    CAPTURE(back_to);
    Cache reference = test::make_cache(*device, chat);
    test::feed(reference, chat, 0, 1000, 50);
    const test::TemporaryDirectory directory;
    const test::Daemon daemon(directory.path());
    std::uint64_t kept_n_token = 0;
    {
      Life life(daemon, chat);
      test::feed(life.stored->cache(), chat, 0, 1000, 100);
      life.save(0, 1000);
      const auto kept = life.stored->rollback(Tokens(back_to));
      REQUIRE(kept);
      const auto same = reference.rollback(Tokens(back_to));
      REQUIRE(same);
      CHECK(kept->n_token == same->n_token);
      CHECK(kept->exact == same->exact);
      kept_n_token = kept->n_token.raw;
      life.save(kept_n_token, kept_n_token);
    }
    Life life(daemon, chat);
    CHECK(life.stored->cache().n_token().raw == kept_n_token);
    const auto out = test::feed(life.stored->cache(), chat, kept_n_token, 1200, 70);
    CHECK(test::same_bits(out, test::feed(reference, chat, kept_n_token, 1200, 70)));
    life.save(kept_n_token, 1200);
  }
}

TEST_CASE("short: a hybrid session with a sliding window and a recurrent state comes back") {
  CacheOptions options = test::cache_options(Scheme::tq4, Scheme::tq4);
  LayerSpec slides = options.shape.layers[0];
  slides.kind = LayerKind::sliding_window;
  slides.window = 200;
  slides.key_scheme = Scheme::raw;
  slides.value_scheme = Scheme::raw;
  options.shape.layers.insert(options.shape.layers.begin(), slides);
  options.shape.layers.push_back({.kind = LayerKind::recurrent});
  options.shape.layers.push_back({.kind = LayerKind::none});
  const Chat chat = test::make_chat(options, 2600, 73);
  const auto device = test::open_cpu();
  Cache fresh = test::make_cache(*device, chat);
  const std::vector<float> expected = test::feed(fresh, chat, 0, 2600, 128);
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  std::vector<float> out;
  std::uint64_t begin = 0;
  for (const std::uint64_t end : {120U, 1900U, 2000U, 2600U}) {  // a long turn leaves the window
    Life life(daemon, chat);
    Cache& cache = life.stored->cache();
    CHECK(cache.n_token().raw == begin);
    const std::vector<std::byte> state(64, static_cast<std::byte>(begin % 251));
    if (begin > 0) {
      const auto restored = cache.state(LayerIndex(2));
      REQUIRE(restored);
      CHECK(std::vector<std::byte>(restored->begin(), restored->end()) == state);
    }
    const std::vector<float> part = test::feed(cache, chat, begin, end, 100);
    out.insert(out.end(), part.begin(), part.end());
    const std::vector<std::byte> next(64, static_cast<std::byte>(end % 251));
    REQUIRE(cache.set_state(LayerIndex(2), Tokens(end), next));
    life.save(begin, end);
    begin = end;
  }
  CHECK(test::same_bits(out, expected));
  Life life(daemon, chat);
  const auto kept = life.stored->rollback(Tokens(2100));
  REQUIRE(kept);
  CHECK(kept->n_token.raw <= 2000);  // the newest position whose recurrent state was kept
}

TEST_CASE("short: a save that is refused changes nothing and can be tried again") {
  const Chat chat = test::make_chat(test::cache_options(Scheme::tq4, Scheme::tq4), 600, 74);
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  Life life(daemon, chat);
  test::feed(life.stored->cache(), chat, 0, 300, 100);
  const auto wrong = life.stored->save(ids(0, 299));
  REQUIRE(!wrong);
  CHECK(wrong.error().code == Errc::shape_mismatch);
  CHECK(wrong.error().message.find("299") != std::string::npos);
  life.save(0, 300);
  Client other = daemon.connect();
  SessionOptions options;
  options.description = {"chat", {{"weights", "abc"}}, chat.options.shape};
  options.cache = chat.options;
  const auto busy = StoredCache::open(other, *life.device, options);
  REQUIRE(!busy);
  CHECK(busy.error().code == Errc::busy);
  options.description.identity[0].value = "xyz";
  const auto foreign = StoredCache::open(other, *life.device, options);
  REQUIRE(!foreign);
  CHECK(foreign.error().code == Errc::identity_mismatch);
  CHECK(foreign.error().message.find("weights: session abc, app xyz") != std::string::npos);
}

TEST_CASE("short: a flipped byte in a pack is refused by name, never attended") {
  const Chat chat = test::make_chat(test::cache_options(Scheme::tq4, Scheme::tq4), 700, 75);
  const test::TemporaryDirectory directory;
  {
    test::Daemon daemon(directory.path());
    Life life(daemon, chat);
    test::feed(life.stored->cache(), chat, 0, 700, 100);
    life.save(0, 700);
  }
  std::filesystem::path pack;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(directory.path() / "data")) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("pages-") && entry.file_size() > 8192) pack = entry.path();
  }
  REQUIRE(!pack.empty());
  std::fstream file(pack, std::ios::in | std::ios::out | std::ios::binary);
  const auto place = static_cast<std::streamoff>(std::filesystem::file_size(pack)) - 5000;
  file.seekg(place);
  const int byte = file.get();
  file.seekp(place);
  file.put(static_cast<char>(byte ^ 0x10));
  file.close();
  const test::Daemon daemon(directory.path());
  Client client = daemon.connect();
  const auto device = test::open_cpu();
  SessionOptions options;
  options.description = {"chat", {{"weights", "abc"}}, chat.options.shape};
  options.cache = chat.options;
  const auto opened = StoredCache::open(client, *device, std::move(options));
  REQUIRE(!opened);
  CHECK(opened.error().code == Errc::corrupt);
  MESSAGE(opened.error().message);
  const auto report = client.verify(std::nullopt);
  REQUIRE(report);
  CHECK(report->n_damage == 1);
}

}  // namespace
}  // namespace kvault
