#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <random>

#include "sdk/src/wire_convert.hpp"
#include "tests/e2e/daemon_process.hpp"
#include "tests/e2e/daemon_records.hpp"
#include "tests/e2e/raw_client.hpp"

namespace kvault::test {
namespace {

using client::OpenMode;
using wire::Builder;
using wire::MessageType;

std::vector<std::byte> random_bytes(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

/// The daemon is alive and serves.
void check_alive(const Daemon& daemon) {
  Client client = daemon.connect();
  REQUIRE_OK(client.ping());
  REQUIRE_OK(client.list());
}

/// It does, and ends in order: under a sanitizer, without a finding.
void check_alive_and_end(Daemon& daemon) {
  check_alive(daemon);
  daemon.signal(SIGTERM);
  CHECK(daemon.wait() == 0);
}

TEST_CASE("short: hostile: garbage is answered with an error frame and a hang-up") {
  const TemporaryDirectory directory;
  Daemon daemon(directory.path());
  check_alive(daemon);
  for (const bool greeted : {false, true}) {
    for (unsigned seed = 0; seed < 20; ++seed) {
      RawClient raw(daemon);
      if (greeted) raw.greet();
      raw.send(random_bytes(1000 + seed * 5000, seed));
      CHECK(raw.receive_error().code == Errc::protocol);
      CHECK(raw.is_hung_up());
    }
  }
  check_alive_and_end(daemon);
}

TEST_CASE("short: hostile: an oversize body is refused from its header alone") {
  const TemporaryDirectory directory;
  Daemon daemon(directory.path());
  check_alive(daemon);
  for (const std::uint32_t size : {wire::kBodySizeMax + 1, 0xFFFFFFFFU}) {
    RawClient raw(daemon);
    raw.greet();
    raw.send(wire::encode(
        {.version = 1, .type = MessageType::ping, .body_size = size, .request_id = 2}));
    const Error error = raw.receive_error();
    CHECK(error.code == Errc::protocol);
    CHECK(error.message.find(std::to_string(size)) != std::string::npos);
    CHECK(raw.is_hung_up());
  }
  check_alive_and_end(daemon);
}

TEST_CASE("short: hostile: half a frame, then silence or a close, disturbs nobody") {
  const TemporaryDirectory directory;
  Daemon daemon(directory.path());
  check_alive(daemon);
  const wire::Frame frame =
      wire::make_message({.type = MessageType::hello, .request_id = 1}, [](Builder& builder) {
        return wire::CreateHello(builder, 1, 1, builder.CreateString("half"));
      }).value();
  std::vector<RawClient> silent;
  for (std::size_t size = 1; size < frame.size(); size += 7) {
    RawClient closing(daemon);
    closing.send(std::span(frame).first(size));
    closing.close();
    if (silent.size() < 20) {
      silent.emplace_back(daemon);
      silent.back().send(std::span(frame).first(size));
    }
  }
  check_alive_and_end(daemon);
}

TEST_CASE("short: hostile: unknown types and bodies that are no tables are refused by request") {
  const TemporaryDirectory directory;
  Daemon daemon(directory.path());
  check_alive(daemon);
  RawClient raw(daemon);
  raw.greet();
  for (const unsigned type : {0U, 8U, 34U, 38U, 65535U}) {
    raw.send(wire::encode(
        {.version = 1, .type = static_cast<MessageType>(type), .request_id = 100 + type}));
    const std::optional<IncomingFrame> answer = raw.receive();
    REQUIRE(answer.has_value());
    CHECK(answer->header.request_id == 100 + type);
    const Error error = wire::decode_refusal(answer->body);
    CHECK(error.code == Errc::protocol);
    CHECK(error.message.find(std::to_string(type)) != std::string::npos);
  }
  const std::array types{
      MessageType::cancel,          MessageType::update_session, MessageType::fork_session,
      MessageType::match_prefix,    MessageType::verify_session, MessageType::create_session,
      MessageType::open_session,    MessageType::close_session,  MessageType::list_sessions,
      MessageType::inspect_session, MessageType::delete_session, MessageType::begin_record,
      MessageType::abort_record,    MessageType::commit,         MessageType::attach};
  for (const MessageType type : types) {
    for (unsigned seed = 0; seed < 20; ++seed) {
      const std::vector<std::byte> body = random_bytes(seed * 37, seed);
      const wire::FrameHeader header{.version = 1, .type = type, .request_id = seed + 1};
      raw.send(wire::make_frame(header, body).value());
      CHECK(raw.receive_error().code == Errc::protocol);
    }
  }
  check_alive_and_end(daemon);
}

TEST_CASE("short: hostile: the handshake names both ranges, and nothing goes before it") {
  const TemporaryDirectory directory;
  Daemon daemon(directory.path());
  check_alive(daemon);
  {
    RawClient future(daemon);
    future.hello(7, 9);
    const Error error = future.receive_error();
    CHECK(error.code == Errc::version);
    CHECK(error.message.find("7 to 9") != std::string::npos);
    CHECK(error.message.find("1 to 1") != std::string::npos);
    CHECK(future.is_hung_up());
  }
  {
    RawClient wide(daemon);
    wide.hello(0, 1000);
    const std::optional<IncomingFrame> answer = wide.receive();
    REQUIRE(answer.has_value());
    CHECK(wire::verified<wire::HelloOk>(answer->body).value()->version() == 1);
  }
  {
    RawClient rude(daemon);
    rude.send({.type = MessageType::ping, .request_id = 1},
              [](Builder& builder) { return wire::CreatePing(builder); });
    CHECK(rude.receive_error().code == Errc::protocol);
    CHECK(rude.is_hung_up());
  }
  {
    RawClient confused(daemon);
    confused.greet();
    confused.send({.version = 2, .type = MessageType::ping, .request_id = 1},
                  [](Builder& builder) { return wire::CreatePing(builder); });
    CHECK(confused.receive_error().code == Errc::protocol);
    CHECK(confused.is_hung_up());
  }
  check_alive_and_end(daemon);
}

TEST_CASE("short: hostile: too many clients are turned away with words") {
  const TemporaryDirectory directory;
  Daemon daemon(directory.path());
  check_alive(daemon);
  std::vector<RawClient> crowd;
  for (std::uint32_t i = 0; i < wire::kConnectionsMax; ++i) crowd.emplace_back(daemon).greet();
  RawClient late(daemon);
  const Error error = late.receive_error();
  CHECK(error.code == Errc::busy);
  CHECK(error.message.find(std::to_string(wire::kConnectionsMax)) != std::string::npos);
  crowd.clear();
  for (int i = 0;; ++i) {  // the daemon takes a moment to notice
    REQUIRE(i < 500);
    if (Client::connect(daemon.client_options())) break;
    ::poll(nullptr, 0, 10);
  }
}

TEST_CASE("short: hostile: one who never reads his answers holds up nobody") {
  const TemporaryDirectory directory;
  Daemon daemon(directory.path());
  check_alive(daemon);
  RawClient deaf(daemon);
  deaf.greet();
  const wire::Frame ping =
      wire::make_message({.version = 1, .type = MessageType::ping, .request_id = 5},
                         [](Builder& builder) { return wire::CreatePing(builder); })
          .value();
  std::vector<std::byte> burst;
  for (int i = 0; i < 4096; ++i) burst.insert(burst.end(), ping.begin(), ping.end());
  // It ends with a full socket: the daemon reads no further once its answers pile up.
  std::size_t sent_bytes = 0;
  while (sent_bytes < 64'000'000) {
    const std::size_t size = deaf.send_what_fits(burst);
    sent_bytes += size;
    if (size < burst.size()) break;
  }
  CHECK(sent_bytes < 16'000'000);
  check_alive_and_end(daemon);
}

TEST_CASE("short: hostile: a client that dies amid an upload leaves nothing but the free lease") {
  const TemporaryDirectory directory;
  const SessionDescription description = describe("chat", 512);
  Daemon daemon(directory.path());
  Client client = daemon.connect();
  const client::Session session = client.create_session(description).value();
  const Record record = make_tail(description.shape, 0, 1000, 3);
  {
    RawClient dying(daemon);
    dying.greet();
    dying.open(description);
    dying.begin(10, session.info.id, record.draft);
    CHECK(dying.send_data(10, 0, std::span(record.bytes).first(700'000)));
    const auto busy = client.open_session("chat", &description, OpenMode::write);
    CHECK(busy.error().code == Errc::busy);
    // Dies within a frame.
    dying.send(wire::encode({.version = 1,
                             .type = MessageType::data,
                             .body_size = 500'000,
                             .request_id = 10,
                             .payload_offset = 700'000}));
    dying.send(std::span(record.bytes).first(1000));
  }
  Result<client::Session> opened = client.open_session("chat", &description, OpenMode::write);
  for (int i = 0; !opened && i < 500; ++i) {
    CHECK(opened.error().code == Errc::busy);
    ::poll(nullptr, 0, 10);
    opened = client.open_session("chat", &description, OpenMode::write);
  }
  REQUIRE_OK(opened);
  CHECK(opened->info.commit_number == 0);
  CHECK(opened->info.n_token == 0);
  CHECK(client.stats().value().n_pending_record == 0);
  const auto commit = append(client, opened->info, description.shape, 1000);
  REQUIRE_OK(commit);
  CHECK(commit->n_token == 1000);
  check_alive_and_end(daemon);
}

TEST_CASE("short: hostile: data out of order, beyond the record or of no record ends the upload") {
  const TemporaryDirectory directory;
  const SessionDescription description = describe("chat");
  Daemon daemon(directory.path());
  Client client = daemon.connect();
  const client::Session session = client.create_session(description).value();
  const Record record = make_tail(description.shape, 0, 100, 3);
  const std::span<const std::byte> bytes(record.bytes);
  struct Misdeed {
    std::uint64_t record, offset, size;
  };
  for (const Misdeed misdeed : {Misdeed{10, 1, 100}, Misdeed{11, 0, 100}, Misdeed{10, 0, 0},
                                Misdeed{10, ~std::uint64_t{0}, 10}}) {
    RawClient raw(daemon);
    raw.greet();
    Result<client::Session> mine = client.open_session("chat", nullptr, OpenMode::read);
    REQUIRE_OK(mine);
    for (int i = 0; i < 500; ++i) {  // until the lease of the one before is back
      if (client.open_session("chat", &description, OpenMode::write)) break;
      ::poll(nullptr, 0, 10);
    }
    REQUIRE_OK(client.close_session(session.info.id));
    raw.open(description);
    raw.begin(10, session.info.id, record.draft);
    raw.send_data(misdeed.record, misdeed.offset, bytes.first(misdeed.size));
    CHECK(raw.receive_error().code == Errc::protocol);
    CHECK(raw.is_hung_up());
  }
  check_alive_and_end(daemon);
}

TEST_CASE("short: credit: every byte of a 20 MB upload is granted anew, and none more") {
  const TemporaryDirectory directory;
  const SessionDescription description = describe("chat", 512);
  Daemon daemon(directory.path());
  Client client = daemon.connect();
  const client::Session session = client.create_session(description).value();
  const Record record = make_tail(description.shape, 0, 10'000, 3);
  REQUIRE(record.bytes.size() > 20'000'000);

  RawClient raw(daemon);
  raw.greet();
  raw.open(description);
  raw.begin(10, session.info.id, record.draft);
  std::uint64_t credit = wire::kCreditBytes;
  std::uint64_t sent = 0;
  std::uint64_t granted = 0;
  bool is_stored = false;
  const std::span<const std::byte> bytes(record.bytes);
  while (!is_stored || granted < bytes.size()) {
    const std::uint64_t size = std::min<std::uint64_t>(bytes.size() - sent, 700'001);
    if (size > 0 && size <= credit) {
      REQUIRE(raw.send_data(10, sent, bytes.subspan(sent, size)));
      sent += size;
      credit -= size;
      continue;
    }
    const std::optional<IncomingFrame> frame = raw.receive();
    REQUIRE(frame.has_value());
    if (frame->header.type == MessageType::credit) {
      const std::uint64_t grant = wire::verified<wire::Credit>(frame->body).value()->bytes();
      granted += grant;
      credit += grant;
      CHECK(credit <= wire::kCreditBytes);
    } else {
      REQUIRE(frame->header.type == MessageType::begin_record);
      CHECK_FALSE(frame->header.is_error());
      is_stored = true;
    }
  }
  CHECK(granted == bytes.size());
  CHECK(client.inspect("chat").value().info.n_token == 0);  // stored, not committed
  check_alive_and_end(daemon);
}

TEST_CASE("short: credit: who sends more than granted is disconnected") {
  const TemporaryDirectory directory;
  const SessionDescription description = describe("chat", 512);
  Daemon daemon(directory.path());
  Client client = daemon.connect();
  const client::Session session = client.create_session(description).value();
  REQUIRE_OK(client.open_session("chat", &description, OpenMode::write));
  REQUIRE_OK(append(client, session.info, description.shape, 20'000));
  REQUIRE_OK(client.close_session(session.info.id));

  RawClient greedy(daemon);
  greedy.greet();
  greedy.open(description);
  // The storage thread is kept from writing, and so from granting, by reading 40 MB many times.
  for (std::uint64_t i = 0; i < 20; ++i) {
    greedy.send({.version = 1, .type = MessageType::verify_session, .request_id = 20 + i},
                [](Builder& builder) {
                  return wire::CreateVerifySession(builder, builder.CreateString("chat"));
                });
  }
  const Record record = make_tail(description.shape, 20'000, 10'000, 3);
  greedy.begin(10, session.info.id, record.draft);
  const std::span<const std::byte> bytes(record.bytes);
  for (std::uint64_t sent = 0; sent + wire::kBodySizeMax <= bytes.size();
       sent += wire::kBodySizeMax) {
    if (!greedy.send_data(10, sent, bytes.subspan(sent, wire::kBodySizeMax))) break;
  }
  std::optional<Error> goodbye;
  while (const std::optional<IncomingFrame> frame = greedy.receive()) {
    if (frame->header.is_error()) goodbye = wire::decode_refusal(frame->body);
  }
  REQUIRE(goodbye.has_value());
  CHECK(goodbye->code == Errc::protocol);
  CHECK(goodbye->message.find("credit") != std::string::npos);
  check_alive_and_end(daemon);
}

TEST_CASE("hostile: a thousand mutated conversations leave a daemon that serves and verifies") {
  const TemporaryDirectory directory;
  const SessionDescription description = describe("chat");
  Daemon daemon(directory.path(), {"--log-level", "error"});
  Client client = daemon.connect();
  const client::Session session = client.create_session(description).value();
  const Record record = make_tail(description.shape, 0, 40, 3);
  std::vector<std::byte> script;
  const auto add = [&](const wire::Frame& frame) {
    script.insert(script.end(), frame.begin(), frame.end());
  };
  add(wire::make_message({.type = MessageType::hello, .request_id = 1}, [](Builder& b) {
        return wire::CreateHello(b, 1, 1, b.CreateString("mutant"));
      }).value());
  add(wire::make_message({.version = 1, .type = MessageType::open_session, .request_id = 2},
                         [&](Builder& b) {
                           return wire::CreateOpenSession(b, b.CreateString("chat"),
                                                          wire::to_wire(b, description), true);
                         })
          .value());
  add(wire::make_message(
          {.version = 1, .type = MessageType::begin_record, .request_id = 3},
          [&](Builder& b) { return wire::to_wire(b, session.info.id, record.draft); })
          .value());
  add(wire::make_frame({.version = 1, .type = MessageType::data, .request_id = 3}, record.bytes)
          .value());
  std::mt19937 random(42);
  for (int round = 0; round < 1000; ++round) {
    std::vector<std::byte> mutant = script;
    const unsigned n_change = 1 + random() % 8;
    for (unsigned i = 0; i < n_change; ++i) {
      mutant[random() % mutant.size()] ^= static_cast<std::byte>(1U << (random() % 8));
    }
    mutant.resize(mutant.size() - random() % 64);
    RawClient raw(daemon);
    raw.send(mutant);
    if (round % 4 == 0) raw.receive();
  }
  check_alive(daemon);
  CHECK(client.verify(std::nullopt).value().n_damage == 0);
  CHECK(client.inspect("chat").value().info.commit_number == 0);
  check_alive_and_end(daemon);
}

}  // namespace
}  // namespace kvault::test
