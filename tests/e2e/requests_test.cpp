#include <doctest/doctest.h>
#include <poll.h>

#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/e2e/namespace_case.hpp"
#include "tests/e2e/raw_client.hpp"

// Requests that are sent again, are too late, or are taken back.

namespace kvault {

using namespace test::namespaces;
using test::Chat;

namespace {

/// Of a session whose creation takes so long that many of them take milliseconds on any machine.
constexpr std::size_t kSlowLayers = 500;

wire::Frame creation(std::uint64_t id, const std::string& name, std::size_t n_layer = 3) {
  ModelShape shape = mixed_options().shape;
  shape.layers.resize(n_layer, shape.layers[0]);
  const SessionDescription description{name, {{"weights", "abc"}}, shape};
  return wire::make_message(
             {.version = 1, .type = wire::MessageType::create_session, .request_id = id},
             [&](wire::Builder& builder) {
               return wire::CreateCreateSession(builder, wire::to_wire(builder, description));
             })
      .value();
}

wire::Frame cancellation(std::uint64_t id, std::uint64_t request) {
  return wire::make_message(
             {.version = 1, .type = wire::MessageType::cancel, .request_id = id},
             [&](wire::Builder& builder) { return wire::CreateCancel(builder, request); })
      .value();
}

/// Sends all frames in one go, so that the daemon has read the last one long before the first is
/// done, and takes as many answers; the error of the one to `request`, if it is one.
std::optional<Error> error_among(test::RawClient& raw, const std::vector<wire::Frame>& frames,
                                 std::uint64_t request) {
  std::vector<std::byte> bytes;
  for (const wire::Frame& frame : frames) bytes.insert(bytes.end(), frame.begin(), frame.end());
  REQUIRE(raw.send(bytes));
  std::optional<Error> error;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const auto frame = raw.receive();
    REQUIRE(frame.has_value());
    if (frame->header.request_id == request) {
      if (frame->header.is_error()) error = wire::decode_refusal(frame->body);
    } else {
      CHECK(!frame->header.is_error());
    }
  }
  return error;
}

}  // namespace

TEST_CASE("short: requests: too late or taken back, they are not done") {
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  wait_until_ready(daemon);
  test::RawClient raw(daemon);
  raw.hello();
  REQUIRE(raw.receive().has_value());
  Client client = daemon.connect();
  // A fast disk may do all that is before the last request in no time; then it is tried again.
  bool was_cancelled = false;
  bool was_late = false;
  for (std::uint64_t round = 1; round <= 50 && !(was_cancelled && was_late); ++round) {
    const std::uint64_t id = 1000 * round;
    std::vector<wire::Frame> frames;
    for (std::uint64_t i = 0; i < 26; ++i) {
      frames.push_back(creation(id + i, message(round, ".", i), kSlowLayers));
    }
    const std::string taken_back = message("taken back ", round);
    frames.push_back(creation(id + 100, taken_back));
    frames.push_back(cancellation(id + 101, id + 100));
    frames.push_back(cancellation(id + 102, 999'999));
    const std::optional<Error> cancelled = error_among(raw, frames, id + 100);
    if (cancelled) CHECK(cancelled->code == Errc::cancelled);
    CHECK(client.inspect(taken_back).has_value() == !cancelled);
    was_cancelled = was_cancelled || cancelled;

    frames.clear();
    for (std::uint64_t i = 0; i < 26; ++i) {
      frames.push_back(creation(id + 200 + i, message(round, ".", 200 + i), kSlowLayers));
    }
    const std::string too_late = message("too late ", round);
    frames.push_back(creation(id + 300, too_late));
    frames.back()[24] = std::byte{1};  // a millisecond
    const std::optional<Error> late = error_among(raw, frames, id + 300);
    if (late) CHECK(late->code == Errc::timeout);
    CHECK(client.inspect(too_late).has_value() == !late);
    was_late = was_late || late;
  }
  CHECK(was_cancelled);
  CHECK(was_late);
}

namespace {

/// A frame whose answer nobody waits for after a millisecond.
template <class Make>
wire::Frame late_frame(wire::MessageType type, Make make) {
  return wire::make_message({.version = 1, .type = type, .request_id = 900, .payload_offset = 1},
                            make)
      .value();
}

/// Requests of every type that goes to the storage thread; sessions "mine", which is open, and
/// "other" are there, and record 77 of "mine".
std::vector<wire::Frame> late_requests(const SessionId& id, const test::Record& record) {
  using wire::Builder;
  using wire::MessageType;
  const SessionDescription description = test::describe("mine");
  const wire::SessionId wire_id = wire::to_wire(id);
  const auto named = [](Builder& b) { return b.CreateString("other"); };
  return {
      late_frame(MessageType::stats, [](Builder& b) { return wire::CreateStats(b); }),
      late_frame(MessageType::verify_session,
                 [&](Builder& b) { return wire::CreateVerifySession(b, named(b)); }),
      late_frame(MessageType::verify_session,
                 [&](Builder& b) { return wire::CreateVerifySession(b, named(b), true); }),
      late_frame(MessageType::create_session,
                 [&](Builder& b) {
                   return wire::CreateCreateSession(b, wire::to_wire(b, test::describe("new")));
                 }),
      late_frame(MessageType::open_session,
                 [&](Builder& b) { return wire::CreateOpenSession(b, named(b)); }),
      late_frame(MessageType::list_sessions,
                 [](Builder& b) { return wire::CreateListSessions(b); }),
      late_frame(MessageType::inspect_session,
                 [&](Builder& b) { return wire::CreateInspectSession(b, named(b)); }),
      late_frame(MessageType::delete_session,
                 [&](Builder& b) { return wire::CreateDeleteSession(b, named(b)); }),
      late_frame(MessageType::update_session,
                 [&](Builder& b) { return wire::CreateUpdateSession(b, named(b)); }),
      late_frame(
          MessageType::fork_session,
          [&](Builder& b) { return wire::CreateForkSession(b, named(b), 0, b.CreateString("f")); }),
      late_frame(
          MessageType::match_prefix,
          [&](Builder& b) { return wire::CreateMatchPrefix(b, wire::to_wire(b, description)); }),
      late_frame(MessageType::begin_record,
                 [&](Builder& b) { return wire::to_wire(b, id, record.draft); }),
      late_frame(MessageType::abort_record,
                 [](Builder& b) { return wire::CreateAbortRecord(b, 77); }),
      late_frame(MessageType::attach, [&](Builder& b) { return wire::CreateAttach(b, &wire_id); }),
      late_frame(MessageType::close_session,
                 [&](Builder& b) { return wire::CreateCloseSession(b, &wire_id); }),
      late_frame(MessageType::commit,
                 [&](Builder& b) { return wire::CreateCommit(b, &wire_id, 0, 4); }),
  };
}

/// Sends creations that take far more than a millisecond and behind them, in the same go, the
/// request; whether it was refused. If not, the daemon came to it only when they were done. The
/// commit names no records, which may be seen before it has waited for anything.
bool is_refused(test::RawClient& raw, const wire::Frame& request, const test::Record& record) {
  const auto type = wire::decode_header(std::span(request).first(wire::kHeaderSize))->type;
  std::vector<std::byte> bytes;
  for (std::uint64_t i = 0; i < 25; ++i) {
    const wire::Frame busy = creation(10'000 + i, message("busy ", i), kSlowLayers);
    bytes.insert(bytes.end(), busy.begin(), busy.end());
  }
  bytes.insert(bytes.end(), request.begin(), request.end());
  REQUIRE(raw.send(bytes));
  if (type == wire::MessageType::begin_record) REQUIRE(raw.send_data(900, 0, record.bytes));
  bool is_error = false;
  for (int n_answer = 0; n_answer < 26;) {
    const auto frame = raw.receive();
    REQUIRE(frame.has_value());
    if (frame->header.type == wire::MessageType::credit) continue;
    ++n_answer;
    if (frame->header.request_id != 900) {
      CHECK(!frame->header.is_error());
      continue;
    }
    is_error = frame->header.is_error();
    if (!is_error) continue;
    const Errc code = wire::decode_refusal(frame->body).code;
    const bool is_incomplete = type == wire::MessageType::commit && code == Errc::incomplete;
    CHECK((code == Errc::timeout || is_incomplete));
  }
  return is_error;
}

/// Asks a new daemon for the request of this number, too late. If it was refused, nothing of what
/// it asks for was done: the session is open and its record is there. Whether it was refused.
bool is_refused_when_late(std::size_t n_request) {
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  Client client = daemon.connect();
  const SessionDescription description = test::describe("mine");
  const SessionId id = client.create_session(description)->info.id;
  REQUIRE(client.create_session(test::describe("other")));
  test::RawClient raw(daemon);
  raw.greet();
  raw.open(description);
  const test::Record record = test::make_tail(description.shape, 0, 4, 1);
  raw.begin(77, id, record.draft);
  REQUIRE(raw.send_data(77, 0, record.bytes));
  for (bool is_stored = false; !is_stored;) is_stored = raw.receive()->header.request_id == 77;
  if (!is_refused(raw, late_requests(id, record)[n_request], record)) return false;
  CHECK(client.stats()->n_pending_record == 1);
  CHECK(client.inspect("new").error().code == Errc::not_found);
  CHECK(client.inspect("f").error().code == Errc::not_found);
  CHECK(client.inspect("other"));
  CHECK(client.inspect("mine")->info.n_token == 0);
  CHECK(client.open_session("mine", &description, client::OpenMode::write).error().code ==
        Errc::busy);
  return true;
}

}  // namespace

TEST_CASE("short: requests: one that is too late is refused, whatever it asks for") {
  const std::size_t n_request =
      late_requests({}, test::make_tail(test::describe("").shape, 0, 4, 1)).size();
  for (std::size_t i = 0; i < n_request; ++i) {
    CAPTURE(i);
    // A daemon that the system holds up between two reads may have done what is before the request
    // when it comes to it; then it is tried again.
    bool was_refused = false;
    for (int n_try = 0; n_try < 20 && !was_refused; ++n_try) was_refused = is_refused_when_late(i);
    CHECK(was_refused);
  }
}

namespace {

wire::Frame verification(std::uint64_t id, std::uint64_t patience_ms) {
  const wire::FrameHeader header{.version = 1,
                                 .type = wire::MessageType::verify_session,
                                 .request_id = id,
                                 .payload_offset = patience_ms};
  return wire::make_message(header,
                            [](wire::Builder& builder) {
                              return wire::CreateVerifySession(builder,
                                                               builder.CreateString("chat"));
                            })
      .value();
}

/// A session of more bytes than three turns of a verification read, its first and last record
/// damaged: what was found tells how far a verification came.
void make_damaged_session(Client& client) {
  const SessionDescription description = test::describe("chat", 512);
  REQUIRE_OK(client.create_session(description));
  client::SessionInfo info =
      client.open_session("chat", &description, client::OpenMode::write)->info;
  for (std::uint32_t i = 0; i < 14; ++i) {
    const auto commit = test::append(client, info, description.shape, 4096, i);
    REQUIRE_OK(commit);
    info.commit_number = commit->commit_number;
    info.n_token = commit->n_token;
  }
  const auto records = client.attach(info.id)->records;
  REQUIRE(records.size() == 14);
  for (const client::RecordPlace& place : {records.front(), records.back()}) {
    std::fstream pack(place.pack_path, std::ios::in | std::ios::out | std::ios::binary);
    const auto offset = static_cast<std::streamoff>(place.offset_bytes + place.length_bytes / 2);
    pack.seekg(offset);
    const int byte = pack.get();
    pack.seekp(offset).put(static_cast<char>(byte ^ 4));
  }
  REQUIRE_OK(client.close_session(info.id));
}

}  // namespace

TEST_CASE("short: requests: a verification ends between two turns when nobody waits any more") {
  const test::TemporaryDirectory directory;
  const test::Daemon daemon(directory.path());
  Client client = daemon.connect();
  make_damaged_session(client);
  const auto n_found = [&] { return client.stats()->n_damage; };
  CHECK(client.verify("chat")->n_damage == 2);
  test::RawClient raw(daemon);
  raw.greet();
  for (const bool by_deadline : {false, true}) {
    CAPTURE(by_deadline);
    bool is_seen = false;
    // Whoever is late by a turn is asked again.
    for (std::uint64_t round = 1; round <= 200 && !is_seen; ++round) {
      const std::uint64_t id = 10 * round;
      const std::uint64_t before = n_found();
      REQUIRE(raw.send(verification(id, by_deadline ? 2 : 0)));
      if (!by_deadline) {
        ::poll(nullptr, 0, 1);
        REQUIRE(raw.send(cancellation(id + 1, id)));
      }
      std::optional<Error> error;
      for (int answers = by_deadline ? 1 : 2; answers > 0; --answers) {
        const auto frame = raw.receive();
        REQUIRE(frame.has_value());
        if (frame->header.request_id != id) continue;
        if (frame->header.is_error()) error = wire::decode_refusal(frame->body);
      }
      if (error) CHECK(error->code == (by_deadline ? Errc::timeout : Errc::cancelled));
      const std::uint64_t n_new = n_found() - before;
      CHECK((error || n_new == 2));
      is_seen = error && n_new == 1;  // the first turn was taken, the last one was not
    }
    CHECK(is_seen);
  }
  CHECK(client.verify("chat")->n_damage == 2);
}

TEST_CASE("short: requests: a save goes on under the next kvaultd") {
  const Chat chat = mixed_chat(19);
  const auto device = test::open_cpu();
  Cache fresh = test::make_cache(*device, chat);
  test::feed(fresh, chat, 0, 850, 100);
  const std::vector<float> expected = test::feed(fresh, chat, 850, 1000, 30);
  for (const bool is_encrypted : {false, true}) {
    CAPTURE(is_encrypted);
    const test::TemporaryDirectory directory;
    auto daemon = std::make_unique<test::Daemon>(directory.path());
    wait_until_ready(*daemon);
    ClientOptions options = daemon->client_options();
    if (is_encrypted) {
      options = in_namespace(*daemon, "app", 1, NamespaceCreation::encrypted);
    }
    auto client = Client::connect(options);
    REQUIRE(client);
    {
      auto stored = open(*client, *device, chat, "chat");
      REQUIRE(stored);
      feed_to(**stored, chat, 400);
      REQUIRE((*stored)->save(ids(0, 400)));
      daemon.reset();
      feed_to(**stored, chat, 850);
      const auto failed = (*stored)->save(ids(400, 850));
      REQUIRE(!failed);
      CHECK(failed.error().code == Errc::disconnected);
      daemon = std::make_unique<test::Daemon>(directory.path());
      wait_until_ready(*daemon);
      const auto saved = (*stored)->save(ids(400, 850));
      if (!saved) FAIL(saved.error().message);
      CHECK(saved->commit_number == 2);
      daemon->kill();
      daemon = std::make_unique<test::Daemon>(directory.path());
      wait_until_ready(*daemon);
      CHECK(client->fork_session("chat", 850, "fork"));
    }
    auto stored = open(*client, *device, chat, "fork");
    if (!stored) FAIL(stored.error().message);
    CHECK(test::same_bits(test::feed((*stored)->cache(), chat, 850, 1000, 30), expected));
  }
}

}  // namespace kvault
