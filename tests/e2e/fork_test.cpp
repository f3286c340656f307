#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "core/cache/cache.hpp"
#include "sdk/src/session.hpp"
#include "tests/e2e/daemon_process.hpp"
#include "tests/support/chat.hpp"

// Forks and prefix matches through a real kvaultd: a chat goes on from another's pages with the
// bits it would have had by itself.

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

SessionDescription describe(const Chat& chat, std::string name) {
  return {std::move(name), {{"weights", "abc"}}, chat.options.shape};
}

Result<std::unique_ptr<StoredCache>> open(Client& client, Device& device, const Chat& chat,
                                          const std::string& name) {
  SessionOptions options;
  options.description = describe(chat, name);
  options.cache = chat.options;
  options.create = true;
  return StoredCache::open(client, device, std::move(options));
}

/// A session of the chat's first n tokens, closed again.
void save_chat(Client& client, Device& device, const Chat& chat, const std::string& name,
               std::uint64_t n) {
  auto stored = open(client, device, chat, name);
  REQUIRE(stored);
  test::feed((*stored)->cache(), chat, 0, n, 100);
  REQUIRE((*stored)->save(ids(0, n)));
}

TEST_CASE("short: fork: a chat goes on from another's pages with a fresh run's bits") {
  for (const LayerKind kind : {LayerKind::full_attention, LayerKind::sliding_window}) {
    CAPTURE(static_cast<int>(kind));
    CacheOptions options = test::cache_options(Scheme::tq4, Scheme::tq3);
    if (kind == LayerKind::sliding_window) {
      LayerSpec window = options.shape.layers[0];
      window.kind = kind;
      window.window = 200;
      window.key_scheme = window.value_scheme = Scheme::raw;
      options.shape.layers.push_back(window);
    }
    const Chat chat = test::make_chat(options, 1000, 72);
    const auto device = test::open_cpu();
    Cache fresh = test::make_cache(*device, chat);
    test::feed(fresh, chat, 0, 850, 100);
    const std::vector<float> expected = test::feed(fresh, chat, 850, 1000, 30);

    const test::TemporaryDirectory directory;
    test::Daemon daemon(directory.path());
    Client client = daemon.connect();
    save_chat(client, *device, chat, "source", 900);
    // A prompt that leaves the stored chat at token 850.
    std::vector<std::uint32_t> prompt = ids(0, 1000);
    prompt[850] = 5;
    const client::Match match = client.match(describe(chat, ""), prompt).value();
    REQUIRE(match.session);
    CHECK(match.session->name == "source");
    CHECK(match.n_token == 850);
    CHECK(match.kept.n_token == 850);
    CHECK(match.kept.exact);
    const client::Fork fork =
        client.fork_session(to_hex(match.session->id), match.n_token, "fork").value();
    CHECK(fork.kept.n_token == 850);
    REQUIRE(client.delete_session("source"));
    daemon.kill();

    test::Daemon again(directory.path());
    Client other = again.connect();
    auto stored = open(other, *device, chat, "fork");
    if (!stored) FAIL(stored.error().message);
    CHECK((*stored)->cache().n_token().raw == 850);
    CHECK(test::same_bits(test::feed((*stored)->cache(), chat, 850, 1000, 30), expected));
    REQUIRE((*stored)->save(ids(850, 1000)));
    CHECK(other.verify(std::nullopt)->n_damage == 0);
  }
}

TEST_CASE("short: fork: at every kind of position, what is kept can be read and gone on from") {
  const Chat chat = test::make_chat(test::cache_options(Scheme::tq4, Scheme::tq2), 1000, 73);
  const auto device = test::open_cpu();
  const test::TemporaryDirectory directory;
  test::Daemon daemon(directory.path());
  Client client = daemon.connect();
  save_chat(client, *device, chat, "source", 900);
  for (const std::uint64_t at :
       {0, 1, 127, 128, 129, 255, 256, 500, 640, 767, 768, 769, 899, 900}) {
    CAPTURE(at);
    const std::string name = message("fork at ", at);
    const client::Fork fork = client.fork_session("source", at, name).value();
    CHECK(fork.kept.n_token <= at);
    CHECK(at - fork.kept.n_token < 128);
    auto stored = open(client, *device, chat, name);
    if (!stored) FAIL(stored.error().message);
    CHECK((*stored)->cache().n_token().raw == fork.kept.n_token);
    test::feed((*stored)->cache(), chat, fork.kept.n_token, 950, 60);
    REQUIRE((*stored)->save(ids(fork.kept.n_token, 950)));
  }
  CHECK(client.verify(std::nullopt)->n_damage == 0);
  CHECK(client.fork_session("source", 901, "x").error().code == Errc::out_of_range);
  CHECK(client.fork_session("nobody", 0, "x").error().code == Errc::not_found);
}

TEST_CASE("short: fork: what is said about a session is kept, and refused where it is wrong") {
  const Chat chat = test::make_chat(test::cache_options(Scheme::tq4, Scheme::tq4), 300, 74);
  const auto device = test::open_cpu();
  const test::TemporaryDirectory directory;
  test::Daemon daemon(directory.path());
  Client client = daemon.connect();
  save_chat(client, *device, chat, "chat", 300);
  REQUIRE(client.update_session("chat",
                                {.name = "renamed", .labels = {{"b", "a"}}, .is_pinned = true}));
  const client::SessionInfo info = client.inspect("renamed")->info;
  CHECK(info.attributes.is_pinned);
  CHECK(info.attributes.labels == std::vector<std::string>{"a", "b"});
  CHECK(info.last_used_at_s >= info.created_at_s);
  CHECK(client.inspect("chat").error().code == Errc::not_found);
  CHECK(client.update_session("renamed", {.name = ""}).error().code == Errc::invalid_argument);
  const std::vector<std::string> many(33, "x");
  CHECK(client.update_session("renamed", {.labels = many})->info.attributes.labels.size() == 1);
  // While a writer has it open, others may rename it, and the writer goes on.
  auto stored = open(client, *device, chat, "renamed");
  REQUIRE(stored);
  Client second = daemon.connect();
  REQUIRE(second.update_session("renamed", {.name = "again"}));
  CHECK(second.repair("again").error().code == Errc::busy);
  (*stored).reset();
  CHECK(second.repair("again")->n_damage == 0);
  const client::Stats stats = client.stats().value();
  CHECK(stats.n_commit == 1);
  CHECK(stats.disk_bytes > stats.pack_bytes);
  CHECK(stats.quota_bytes > 0);
}

}  // namespace
}  // namespace kvault
