#include <doctest/doctest.h>
#include <poll.h>

#include <array>
#include <fstream>
#include <string>
#include <vector>

#include "sdk/src/session_export.hpp"
#include "sdk/src/session_import.hpp"
#include "tests/e2e/namespace_case.hpp"
#include "tests/e2e/raw_client.hpp"

// Apps in namespaces of their own, with and without encryption.

namespace kvault {

using namespace test::namespaces;
using test::Chat;

TEST_CASE("short: namespace: apps see their own sessions alone") {
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  wait_until_ready(daemon);
  const Chat chat = mixed_chat(3);
  const auto description = [&](const std::string& name) {
    return SessionDescription{name, {{"weights", "abc"}}, chat.options.shape};
  };
  Client shared = daemon.connect();
  REQUIRE(shared.create_session(description("of all")));
  CHECK(Client::connect(in_namespace(daemon, "one", 1)).error().code == Errc::not_found);
  auto one = Client::connect(in_namespace(daemon, "one", 1, NamespaceCreation::plain));
  auto two = Client::connect(in_namespace(daemon, "two", 2, NamespaceCreation::encrypted));
  REQUIRE(one);
  REQUIRE(two);
  CHECK(!one->is_encrypted());
  CHECK(two->is_encrypted());
  const std::string id = to_hex(one->create_session(description("mine"))->info.id);
  REQUIRE(two->create_session(description("mine")));
  for (Client* other : {&shared, &*two}) {
    CHECK(other->list()->size() == 1);
    for (const auto& error :
         {other->inspect(id).error(), other->delete_session(id).error(), other->verify(id).error(),
          other->fork_session(id, 0, "stolen").error(),
          other->update_session(id, {.is_pinned = true}).error(),
          other->open_session(id, nullptr, client::OpenMode::read).error()}) {
      CHECK(error.code == Errc::not_found);
    }
  }
  CHECK(Client::connect(in_namespace(daemon, "one", 2)).error().code == Errc::permission);
  CHECK(Client::connect(in_namespace(daemon, "no name", 2)).error().code == Errc::invalid_argument);
  CHECK(
      Client::connect(in_namespace(daemon, "one", 1, NamespaceCreation::encrypted)).error().code ==
      Errc::unsupported);
  const auto uses = shared.stats()->namespaces;
  REQUIRE(uses.size() == 3);
  CHECK(uses[0].name.empty());
  CHECK(uses[1].name == "one");
  CHECK(uses[1].n_client == 1);
  CHECK(uses[2].name == "two");
  CHECK(one->delete_session("mine"));
  CHECK(shared.destroy_session("of all").error().code == Errc::unsupported);
  CHECK(two->destroy_session("mine"));
  CHECK(shared.list()->size() == 1);
}

TEST_CASE("short: namespace: an encrypted session resumes with the same bits") {
  const Chat chat = mixed_chat(17);
  const auto device = test::open_cpu();
  Cache fresh = test::make_cache(*device, chat);
  test::feed(fresh, chat, 0, 850, 100);
  const std::vector<float> expected = test::feed(fresh, chat, 850, 1000, 30);
  const test::TemporaryDirectory directory;
  for (const bool is_first : {true, false}) {
    const test::Daemon daemon(directory.path());
    wait_until_ready(daemon);
    auto client = Client::connect(in_namespace(daemon, "app", 9, NamespaceCreation::encrypted));
    REQUIRE(client);
    if (is_first) {
      auto stored = open(*client, *device, chat, "chat");
      REQUIRE(stored);
      feed_to(**stored, chat, 400);
      REQUIRE((*stored)->save(ids(0, 400)));
      feed_to(**stored, chat, 850);
      REQUIRE((*stored)->save(ids(400, 850)));
      continue;
    }
    for (const bool stream : {false, true}) {
      CAPTURE(stream);
      auto stored = open(*client, *device, chat, "chat", stream);
      if (!stored) FAIL(stored.error().message);
      const auto kept_ids = (*stored)->token_ids();
      CHECK(std::vector<std::uint32_t>(kept_ids.begin(), kept_ids.end()) == ids(0, 850));
      const auto state = (*stored)->cache().state(LayerIndex(2));
      REQUIRE(state);
      CHECK((*state)[5] == static_cast<std::byte>(850 % 251));
      CHECK(test::same_bits(test::feed((*stored)->cache(), chat, 850, 1000, 30), expected));
    }
    // Forks, exports into the clear and imports from there.
    REQUIRE(client->fork_session("chat", 850, "fork"));
    CHECK(client->destroy_session("chat").error().code == Errc::busy);
    const fs::path file = directory.path() / "chat.kvx";
    const Result<> exported = export_session(*client, "fork", file, {});
    if (!exported) FAIL(exported.error().message);
    auto other = Client::connect(in_namespace(daemon, "other", 8, NamespaceCreation::encrypted));
    for (Client* target : {&*client, &*other}) {
      const auto imported = import_session(*target, file, "imported", {});
      if (!imported) FAIL(imported.error().message);
      auto stored = open(*target, *device, chat, "imported");
      if (!stored) FAIL(stored.error().message);
      CHECK(test::same_bits(test::feed((*stored)->cache(), chat, 850, 1000, 30), expected));
    }
    CHECK(client->verify(std::nullopt)->n_damage == 0);
    REQUIRE(client->delete_session("fork"));
    REQUIRE(client->destroy_session("chat"));
    CHECK(client->list()->size() == 1);
  }
}

TEST_CASE("short: namespace: a flipped byte of a sealed layer is refused before it is used") {
  const Chat chat = mixed_chat(18);
  const auto device = test::open_cpu();
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  wait_until_ready(daemon);
  auto client = Client::connect(in_namespace(daemon, "app", 9, NamespaceCreation::encrypted));
  REQUIRE(client);
  {
    auto stored = open(*client, *device, chat, "chat");
    feed_to(**stored, chat, 300);
    REQUIRE((*stored)->save(ids(0, 300)));
  }
  const auto session = client->open_session("chat", nullptr, client::OpenMode::read);
  const auto places = client->attach(session->info.id)->records;
  REQUIRE(client->close_session(session->info.id));
  for (const client::RecordPlace& place : places) {
    std::fstream pack(place.pack_path, std::ios::in | std::ios::out | std::ios::binary);
    std::array<std::byte, kRecordHeaderSize> head{};
    pack.seekg(static_cast<std::streamoff>(place.offset_bytes));
    pack.read(reinterpret_cast<char*>(head.data()), head.size());
    const std::uint64_t payload = parse_header(head).value().payload_offset;
    for (const std::uint64_t at : {std::uint64_t{200}, payload}) {
      const auto offset = static_cast<std::streamoff>(place.offset_bytes + at);
      char byte = 0;
      pack.seekg(offset).get(byte);
      pack.seekp(offset).put(static_cast<char>(byte ^ 2)).flush();
      const auto stored = open(*client, *device, chat, "chat");
      CHECK(!stored);
      pack.seekp(offset).put(byte).flush();
    }
  }
  CHECK(open(*client, *device, chat, "chat"));
}

TEST_CASE("short: namespace: a Hello that is none of one") {
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  wait_until_ready(daemon);
  const auto hello = [](test::RawClient& client, const std::string& name, std::size_t token_size,
                        std::uint8_t create) {
    client.send({.type = wire::MessageType::hello, .request_id = 1}, [&](wire::Builder& builder) {
      const auto app = builder.CreateString("raw");
      const auto wanted = builder.CreateString(name);
      const auto token = builder.CreateVector(std::vector<std::uint8_t>(token_size, 1));
      return wire::CreateHello(builder, 1, 1, app, 0, wanted, token, create);
    });
  };
  struct Case {
    std::string name;
    std::size_t token_size;
    std::uint8_t create;
    Errc code;
  };
  for (const Case& c :
       {Case{"x", 31, 1, Errc::invalid_argument}, Case{"x", 0, 1, Errc::invalid_argument},
        Case{"x", 32, 3, Errc::invalid_argument}, Case{"../x", 32, 1, Errc::invalid_argument},
        Case{"x", 32, 0, Errc::not_found}}) {
    test::RawClient client(daemon);
    hello(client, c.name, c.token_size, c.create);
    CHECK(client.receive_error().code == c.code);
    CHECK(client.is_hung_up());
  }
  // Who does not wait for the answer is sent away, and the namespace is left again.
  for (int i = 0; i < 20; ++i) {
    test::RawClient client(daemon);
    hello(client, "x", 32, 1);
    client.send({.version = 1, .type = wire::MessageType::ping, .request_id = 2},
                [](wire::Builder& builder) { return wire::CreatePing(builder); });
  }
  Client shared = daemon.connect();
  for (int i = 0; i < 500 && shared.stats()->namespaces.back().n_client > 0; ++i) {
    ::poll(nullptr, 0, 10);
  }
  CHECK(shared.stats()->namespaces.back().n_client == 0);
}

}  // namespace kvault
