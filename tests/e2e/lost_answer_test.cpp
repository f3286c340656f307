#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sdk/src/session.hpp"
#include "tests/e2e/losing_proxy.hpp"
#include "tests/support/chat.hpp"

// What kvaultd has done and the client was never told of: it is asked again, and done once.

namespace kvault {
namespace {

using test::Chat;
using wire::MessageType;

std::vector<std::uint32_t> ids(std::uint64_t first, std::uint64_t last) {
  std::vector<std::uint32_t> values;
  for (std::uint64_t token = first; token < last; ++token) {
    values.push_back(static_cast<std::uint32_t>(token * 7 + 1));
  }
  return values;
}

SessionDescription describe(const Chat& chat, const std::string& name) {
  return {name, {{"weights", "abc"}}, chat.options.shape};
}

/// An app whose connection loses answers, in the shared namespace or in an encrypted one.
struct App {
  test::LosingProxy proxy;
  ClientOptions direct;  ///< of a client that loses nothing
  std::unique_ptr<Device> device = test::open_cpu();
  std::optional<Client> client{};

  App(const std::filesystem::path& directory, const test::Daemon& daemon, bool is_encrypted)
      : proxy(directory, daemon), direct(daemon.client_options()) {
    static_cast<void>(daemon.connect());
    if (is_encrypted) {
      const std::vector<std::byte> token(kSecretKeySize, std::byte{7});
      direct.name_space = {"app", SecretKey::from_bytes(token).value(),
                           NamespaceCreation::encrypted};
    }
    auto connected = Client::connect(proxy.through(direct));
    if (!connected) FAIL(connected.error().message);
    client.emplace(std::move(*connected));
  }
  std::unique_ptr<StoredCache> open(const Chat& chat) {
    SessionOptions options;
    options.description = describe(chat, "chat");
    options.cache = chat.options;
    options.create = true;
    auto stored = StoredCache::open(*client, *device, std::move(options));
    if (!stored) FAIL(stored.error().message);
    return std::move(*stored);
  }
  Client onlooker() const {
    auto connected = Client::connect(direct);
    if (!connected) FAIL(connected.error().message);
    return std::move(*connected);
  }
};

/// pre: saved. What a new app reads attends as a cache does that was never stored.
void check_resumes(App& app, const Chat& chat, std::uint64_t n_token) {
  const auto device = test::open_cpu();
  Cache fresh = test::make_cache(*device, chat);
  test::feed(fresh, chat, 0, n_token, 100);
  const std::vector<float> expected = test::feed(fresh, chat, n_token, chat.n_token, 40);
  const auto stored = app.open(chat);
  CHECK(stored->cache().n_token().raw == n_token);
  const auto kept = stored->token_ids();
  CHECK(std::vector<std::uint32_t>(kept.begin(), kept.end()) == ids(0, n_token));
  CHECK(test::same_bits(test::feed(stored->cache(), chat, n_token, chat.n_token, 40), expected));
  CHECK(app.onlooker().verify(std::nullopt)->n_damage == 0);
}

}  // namespace

TEST_CASE("short: lost answers: a save that was made is not made twice") {
  const Chat chat = test::make_chat(test::cache_options(Scheme::tq4, Scheme::tq3), 1000, 31);
  for (const bool is_encrypted : {false, true}) {
    CAPTURE(is_encrypted);
    const test::TemporaryDirectory directory;
    const test::Daemon daemon(directory.path());
    App app(directory.path(), daemon, is_encrypted);
    {
      const auto stored = app.open(chat);
      test::feed(stored->cache(), chat, 0, 300, 100);
      REQUIRE(stored->save(ids(0, 300)));
      test::feed(stored->cache(), chat, 300, 700, 100);
      app.proxy.lose(MessageType::commit, 1);
      const auto saved = stored->save(ids(300, 700));
      if (!saved) FAIL(saved.error().message);
      CHECK(app.proxy.n_lost() == 1);
      CHECK(saved->commit_number == 2);
      CHECK(saved->n_token == 700);
      CHECK(saved->n_page == 2);  // 1 and 2; page 3 is history, and there as rows
      const client::Session seen = app.onlooker().inspect("chat").value();
      CHECK(seen.info.commit_number == 2);
      CHECK(seen.info.n_token == 700);
      // Left by its last client a namespace is closed, and counts anew.
      if (!is_encrypted) CHECK(app.onlooker().stats()->n_commit == 2);
      CHECK(app.onlooker().stats()->n_pending_record == 0);
      // The next turn goes on from there.
      test::feed(stored->cache(), chat, 700, 800, 100);
      CHECK(stored->save(ids(700, 800))->commit_number == 3);
    }
    check_resumes(app, chat, 800);
  }
}

TEST_CASE("short: lost answers: a save is settled though its kvaultd dies, and after a rollback") {
  const Chat chat = test::make_chat(test::cache_options(Scheme::tq4, Scheme::tq3), 1000, 32);
  for (const std::uint64_t back_to : {700U, 650U, 400U, 200U, 100U}) {
    CAPTURE(back_to);
    const test::TemporaryDirectory directory;
    auto daemon = std::make_unique<test::Daemon>(directory.path());
    App app(directory.path(), *daemon, back_to == 400);
    std::uint64_t n_token = 0;
    {
      const auto stored = app.open(chat);
      test::feed(stored->cache(), chat, 0, 300, 100);
      REQUIRE(stored->save(ids(0, 300)));
      test::feed(stored->cache(), chat, 300, 700, 100);
      app.proxy.lose(MessageType::commit, 1, [&] { daemon->kill(); });
      const auto lost = stored->save(ids(300, 700));
      REQUIRE(!lost);
      CHECK(lost.error().code == Errc::disconnected);
      CHECK(app.proxy.n_lost() == 1);
      daemon = std::make_unique<test::Daemon>(directory.path());
      static_cast<void>(daemon->connect());
      CHECK(app.onlooker().inspect("chat")->info.commit_number == 2);
      // Meanwhile the app edits an earlier turn.
      n_token = stored->rollback(Tokens(back_to))->n_token.raw;
      CHECK(n_token <= back_to);
      test::feed(stored->cache(), chat, n_token, 720, 60);
      const std::uint64_t n_known = stored->token_ids().size();
      const auto saved = stored->save(ids(n_known, 720));
      if (!saved) FAIL(saved.error().message);
      CHECK(saved->commit_number == 3);
      n_token = saved->n_token;
    }
    CHECK(n_token == 720);
    // Tokens behind the rollback were fed again, as they were: the same bits as without it.
    if (back_to >= 650) check_resumes(app, chat, n_token);
    CHECK(app.onlooker().verify(std::nullopt)->n_damage == 0);
  }
}

TEST_CASE("short: lost answers: a session is created and forked once") {
  const Chat chat = test::make_chat(test::cache_options(Scheme::tq4, Scheme::tq3), 1000, 33);
  for (const bool is_encrypted : {false, true}) {
    CAPTURE(is_encrypted);
    const test::TemporaryDirectory directory;
    const test::Daemon daemon(directory.path());
    App app(directory.path(), daemon, is_encrypted);
    app.proxy.lose(MessageType::create_session, 1);
    const auto created = app.client->create_session(describe(chat, "chat"));
    if (!created) FAIL(created.error().message);
    CHECK(app.proxy.n_lost() == 1);
    REQUIRE(app.onlooker().list()->size() == 1);
    CHECK(app.onlooker().list()->front().id == created->info.id);
    CHECK(app.client->create_session(describe(chat, "chat")).error().code == Errc::already_exists);
    {
      const auto stored = app.open(chat);
      test::feed(stored->cache(), chat, 0, 300, 100);
      REQUIRE(stored->save(ids(0, 300)));
    }
    app.proxy.lose(MessageType::fork_session, 1);
    const auto fork = app.client->fork_session("chat", 300, "fork");
    if (!fork) FAIL(fork.error().message);
    CHECK(app.proxy.n_lost() == 2);
    CHECK(fork->kept.n_token == 300);
    CHECK(app.onlooker().list()->size() == 2);
    CHECK(app.onlooker().inspect("fork")->info.id == fork->info.id);
    CHECK(app.client->fork_session("chat", 300, "fork").error().code == Errc::already_exists);
    // Its source is removed before it is asked again: the fork is the answer all the same.
    app.proxy.lose(MessageType::fork_session, 1,
                   [&] { CHECK(app.onlooker().delete_session("chat")); });
    const auto orphan = app.client->fork_session("chat", 300, "orphan");
    if (!orphan) FAIL(orphan.error().message);
    CHECK(orphan->info.id == app.onlooker().inspect("orphan")->info.id);
    // Where the second answer is lost too, the client says so, and nothing is done twice.
    app.proxy.lose(MessageType::create_session, 2);
    const auto lost = app.client->create_session(describe(chat, "twice"));
    REQUIRE(!lost);
    CHECK(lost.error().code == Errc::disconnected);
    CHECK(app.onlooker().list()->size() == 3);
  }
}

}  // namespace kvault
