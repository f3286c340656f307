#include <doctest/doctest.h>
#include <poll.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/e2e/namespace_case.hpp"
#include "tests/e2e/raw_client.hpp"

// Namespaces that are removed, by those who may and as they should, and by others.

namespace kvault {

using namespace test::namespaces;
using test::Chat;

TEST_CASE("short: namespace: it is removed by who is alone in it, and its chats are gone") {
  const Chat chat = mixed_chat(20);
  const auto device = test::open_cpu();
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  Client shared = daemon.connect();
  CHECK(shared.remove_namespace().error().code == Errc::invalid_argument);
  REQUIRE(shared.create_session({"of all", {{"weights", "abc"}}, chat.options.shape}));
  for (const auto creation : {NamespaceCreation::plain, NamespaceCreation::encrypted}) {
    const bool is_encrypted = creation == NamespaceCreation::encrypted;
    CAPTURE(is_encrypted);
    auto client = Client::connect(in_namespace(daemon, "app", 1, creation));
    REQUIRE(client);
    {
      auto stored = open(*client, *device, chat, "chat");
      REQUIRE(stored);
      feed_to(**stored, chat, 400);
      REQUIRE((*stored)->save(ids(0, 400)));
      // A session that is open does not keep its owner from it; another client does.
      auto other = Client::connect(in_namespace(daemon, "app", 1));
      const Result<> refused = client->remove_namespace();
      REQUIRE(!refused);
      CHECK(refused.error().code == Errc::busy);
      CHECK(refused.error().message.find("1 other") != std::string::npos);
      CHECK(other->inspect("chat"));
    }
    const auto folder = directory.path() / "data" / "namespaces" / "app";
    CHECK(fs::exists(folder / "keys") == is_encrypted);
    Result<> removed;
    for (int i = 0; i < 500; ++i) {  // until the other one's end is seen
      removed = client->remove_namespace();
      if (removed || removed.error().code != Errc::busy) break;
      ::poll(nullptr, 0, 10);
    }
    if (!removed) FAIL(removed.error().message);
    CHECK(!client->is_connected());
    CHECK(client->ping().error().code == Errc::disconnected);
    CHECK(!fs::exists(folder));
    CHECK(fs::is_empty(folder.parent_path()));
    CHECK(Client::connect(in_namespace(daemon, "app", 1)).error().code == Errc::not_found);
    CHECK(shared.stats()->namespaces.size() == 1);
    CHECK(shared.inspect("of all"));
  }
}

namespace {

/// Makes namespace "x", or enters it.
void enter(test::RawClient& raw) {
  raw.send({.type = wire::MessageType::hello, .request_id = 1}, [&](wire::Builder& builder) {
    const auto app = builder.CreateString("raw");
    const auto wanted = builder.CreateString("x");
    const auto token = builder.CreateVector(std::vector<std::uint8_t>(32, 1));
    return wire::CreateHello(builder, 1, 1, app, 0, wanted, token, 2);
  });
  const auto answer = raw.receive();
  REQUIRE(answer.has_value());
  REQUIRE_FALSE(answer->header.is_error());
}

wire::Frame removal() {
  return wire::make_message(
             {.version = 1, .type = wire::MessageType::remove_namespace, .request_id = 5},
             [](wire::Builder& builder) { return wire::CreateRemoveNamespace(builder); })
      .value();
}

wire::Frame creation(const SessionDescription& description) {
  return wire::make_message(
             {.version = 1, .type = wire::MessageType::create_session, .request_id = 6},
             [&](wire::Builder& builder) {
               return wire::CreateCreateSession(builder, wire::to_wire(builder, description));
             })
      .value();
}

/// With a session open, and a record begun whose payload never comes.
void remove_in_the_midst(const test::Daemon& daemon, Client& shared, test::RawClient& raw) {
  const SessionDescription description = test::describe("mine");
  REQUIRE(raw.send(creation(description)));
  REQUIRE(raw.receive().has_value());
  raw.open(description);
  const SessionId id = [&] {
    auto client = Client::connect(in_namespace(daemon, "x", 1));
    return client->inspect("mine")->info.id;
  }();
  for (int i = 0; i < 500 && shared.stats()->namespaces.back().n_client > 1; ++i) {
    ::poll(nullptr, 0, 10);
  }
  raw.begin(77, id, test::make_tail(description.shape, 0, 4, 1).draft);
  for (int i = 0; i < 500; ++i) {
    REQUIRE(raw.send(removal()));
    auto answer = raw.receive();
    if (answer->header.request_id == 77) answer = raw.receive();  // it is not sealed
    if (!answer->header.is_error()) break;
    CHECK(wire::decode_refusal(answer->body).code == Errc::busy);
    ::poll(nullptr, 0, 10);  // until the record is begun
  }
  CHECK(raw.is_hung_up());
}

}  // namespace

TEST_CASE("short: namespace: clients that remove it in every wrong way harm nobody") {
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  Client shared = daemon.connect();
  const wire::Frame create = creation(test::describe("mine"));
  for (int way = 0; way < 4; ++way) {
    CAPTURE(way);
    test::RawClient raw(daemon);
    enter(raw);
    std::vector<std::byte> bytes;
    const auto say = [&bytes](const wire::Frame& frame) {
      bytes.insert(bytes.end(), frame.begin(), frame.end());
    };
    if (way == 0) {
      remove_in_the_midst(daemon, shared, raw);
    } else if (way == 1) {
      say(create);
      say(removal());
      REQUIRE(raw.send(bytes));
      int n_done = 0;
      for (int i = 0; i < 2; ++i) n_done += raw.receive()->header.is_error() ? 0 : 1;
      CHECK(n_done >= 1);
    } else if (way == 2) {
      say(removal());
      for (int i = 0; i < 20; ++i) say(create);
      REQUIRE(raw.send(bytes));
      const auto answer = raw.receive();
      CHECK((answer && !answer->header.is_error()));
    } else {
      REQUIRE(raw.send(removal()));
      raw.close();
    }
  }
  for (int i = 0; i < 500 && shared.stats()->namespaces.back().n_client > 0 &&
                  shared.stats()->namespaces.size() > 1;
       ++i) {
    ::poll(nullptr, 0, 10);
  }
  CHECK(shared.ping());
  auto last = Client::connect(in_namespace(daemon, "x", 1, NamespaceCreation::encrypted));
  REQUIRE(last);
  CHECK(last->create_session(test::describe("new")));
}

}  // namespace kvault
