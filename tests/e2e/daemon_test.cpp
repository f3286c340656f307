#include <doctest/doctest.h>

#include <algorithm>
#include <thread>

#include "tests/e2e/daemon_process.hpp"
#include "tests/e2e/daemon_records.hpp"

namespace kvault::test {
namespace {

using client::OpenMode;

bool operator==(const client::RecordPlace& a, const client::RecordPlace& b) {
  return a.kind == b.kind && a.pack_path == b.pack_path && a.offset_bytes == b.offset_bytes &&
         a.length_bytes == b.length_bytes && a.first_token == b.first_token &&
         a.n_token == b.n_token && a.checksum == b.checksum;
}

void check_equal(const client::Attachment& a, const client::Attachment& b) {
  CHECK(a.info.id == b.info.id);
  CHECK(a.info.name == b.info.name);
  CHECK(a.info.commit_number == b.info.commit_number);
  CHECK(a.info.n_token == b.info.n_token);
  CHECK(a.info.n_page == b.info.n_page);
  CHECK(a.description == b.description);
  REQUIRE(a.records.size() == b.records.size());
  for (std::size_t i = 0; i < a.records.size(); ++i) CHECK(a.records[i] == b.records[i]);
}

/// Creates a session and opens it for writing.
client::Session create_and_open(Client& client, const SessionDescription& description) {
  REQUIRE_OK(client.create_session(description));
  Result<client::Session> session =
      client.open_session(description.name, &description, OpenMode::write);
  REQUIRE_OK(session);
  return std::move(*session);
}

/// Appends until `n_commit` commits of `n_token` tokens each are acknowledged.
void append_some(Client& client, client::SessionInfo info, const ModelShape& shape, int n_commit,
                 std::uint32_t n_token) {
  for (int i = 0; i < n_commit; ++i) {
    const Result<client::CommitInfo> commit =
        append(client, info, shape, n_token, static_cast<std::uint32_t>(i));
    REQUIRE_OK(commit);
    CHECK(commit->commit_number == info.commit_number + 1);
    CHECK(commit->n_token == info.n_token + n_token);
    info.commit_number = commit->commit_number;
    info.n_token = commit->n_token;
    info.n_page = commit->n_page;
  }
}

/// Every record of an attachment is whole on disk.
void check_records(const client::Attachment& attachment) {
  for (const client::RecordPlace& place : attachment.records) {
    const Result<RecordHeader> header = verify_record(read_record(place));
    REQUIRE_OK(header);
    CHECK(header->checksum == place.checksum);
    CHECK(header->session == attachment.info.id);
  }
}

TEST_CASE("short: daemon: what was committed is there after kill -9 and a restart") {
  const TemporaryDirectory directory;
  const SessionDescription description = describe("chat \xC3\xA9\xC3\xA8");
  client::Attachment before;
  {
    Daemon daemon(directory.path());
    Client client = daemon.connect();
    const client::Session session = create_and_open(client, description);
    append_some(client, session.info, description.shape, 3, 20);
    Result<client::Attachment> attachment = client.attach(session.info.id);
    REQUIRE_OK(attachment);
    before = *attachment;
    CHECK(before.info.commit_number == 3);
    CHECK(before.info.n_token == 60);
    CHECK(before.description == description);
    check_records(before);
    daemon.kill();
    const Result<client::Pong> pong = client.ping();
    REQUIRE_FALSE(pong.has_value());
    CHECK(pong.error().code == Errc::disconnected);
  }
  Daemon daemon(directory.path());
  Client client = daemon.connect();
  REQUIRE_OK(client.open_session(description.name, nullptr, OpenMode::read));
  const Result<client::Attachment> after = client.attach(before.info.id);
  REQUIRE_OK(after);
  check_equal(before, *after);
  check_records(*after);
  const Result<client::VerifyReport> report = client.verify(std::nullopt);
  REQUIRE_OK(report);
  CHECK(report->n_session == 1);
  CHECK(report->n_damage == 0);
}

TEST_CASE("short: daemon: sessions outlive the catalog") {
  const TemporaryDirectory directory;
  const SessionDescription description = describe("chat");
  client::Attachment before;
  {
    Daemon daemon(directory.path());
    Client client = daemon.connect();
    const client::Session session = create_and_open(client, description);
    append_some(client, session.info, description.shape, 2, 30);
    REQUIRE_OK(client.create_session(describe("empty")));
    before = client.attach(session.info.id).value();
    daemon.signal(SIGTERM);
    CHECK(daemon.wait() == 0);
  }
  int n_removed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory.path() / "data")) {
    if (entry.path().filename().native().starts_with("catalog")) {
      n_removed += std::filesystem::remove(entry.path()) ? 1 : 0;
    }
  }
  CHECK(n_removed > 0);
  Daemon daemon(directory.path());
  Client client = daemon.connect();
  const auto sessions = client.list();
  REQUIRE_OK(sessions);
  REQUIRE(sessions->size() == 2);
  CHECK((*sessions)[0].name == "chat");
  CHECK((*sessions)[1].name == "empty");
  REQUIRE_OK(client.open_session("chat", nullptr, OpenMode::read));
  check_equal(before, client.attach(before.info.id).value());
  CHECK(daemon.log().find("catalog rebuilt") != std::string::npos);
}

TEST_CASE("short: daemon: one writer per session, any number of readers") {
  const TemporaryDirectory directory;
  const SessionDescription description = describe("chat");
  Daemon daemon(directory.path());
  Client first = daemon.connect();
  const client::Session session = create_and_open(first, description);
  append_some(first, session.info, description.shape, 1, 8);

  Client second = daemon.connect();
  const auto refused = second.open_session("chat", &description, OpenMode::write);
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == Errc::busy);
  CHECK(refused.error().message.find("e2e") != std::string::npos);
  CHECK(refused.error().message.find(std::to_string(::getpid())) != std::string::npos);
  CHECK(second.delete_session("chat").error().code == Errc::busy);
  REQUIRE_OK(second.open_session("chat", &description, OpenMode::read));
  REQUIRE_OK(second.attach(session.info.id));
  const auto no_lease = append(second, session.info, description.shape, 8);
  REQUIRE_FALSE(no_lease.has_value());
  CHECK(no_lease.error().code == Errc::invalid_argument);

  REQUIRE_OK(first.close_session(session.info.id));
  const auto taken = second.open_session("chat", &description, OpenMode::write);
  REQUIRE_OK(taken);
  CHECK(taken->info.n_token == 8);
  CHECK(append(first, session.info, description.shape, 8).error().code == Errc::invalid_argument);
  append_some(second, taken->info, description.shape, 1, 8);
  REQUIRE_OK(second.delete_session(to_hex(session.info.id)));
  CHECK(second.inspect("chat").error().code == Errc::not_found);
  CHECK(second.attach(session.info.id).error().code == Errc::invalid_argument);
}

TEST_CASE("short: daemon: another model's session is refused with every field that differs") {
  const TemporaryDirectory directory;
  const SessionDescription description = describe("chat");
  Daemon daemon(directory.path());
  Client client = daemon.connect();
  REQUIRE_OK(client.create_session(description));
  CHECK(client.create_session(description).error().code == Errc::already_exists);

  SessionDescription other = describe("any name", 64);
  other.identity[0].value = "1000000";
  for (const OpenMode mode : {OpenMode::read, OpenMode::write}) {
    const auto refused = client.open_session("chat", &other, mode);
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code == Errc::identity_mismatch);
    const std::string& words = refused.error().message;
    for (const char* part : {"rope_freq_base", "10000", "1000000", "key_head_dim", "64"}) {
      CAPTURE(part);
      CHECK(words.find(part) != std::string::npos);
    }
    CHECK(words.find("weights") == std::string::npos);
  }
  const auto blind = client.open_session("chat", nullptr, OpenMode::write);
  CHECK(blind.error().code == Errc::invalid_argument);
  const auto absent = client.open_session("no such chat", &description, OpenMode::read);
  CHECK(absent.error().code == Errc::not_found);
}

TEST_CASE("short: daemon: a stale commit conflicts, a rollback keeps what it says") {
  const TemporaryDirectory directory;
  const SessionDescription description = describe("chat");
  Daemon daemon(directory.path());
  Client client = daemon.connect();
  client::Session session = create_and_open(client, description);
  append_some(client, session.info, description.shape, 2, 50);
  const auto stale = append(client, session.info, description.shape, 10);
  REQUIRE_FALSE(stale.has_value());
  CHECK(stale.error().code == Errc::conflict);
  CHECK(client.stats().value().n_pending_record == 0);

  const auto rolled_back = client.commit(
      session.info.id, {.expected_commit_number = 2, .n_token = 70, .kept_n_token = 70});
  REQUIRE_OK(rolled_back);
  CHECK(rolled_back->n_token == 70);
  const client::Attachment attachment = client.attach(session.info.id).value();
  CHECK(attachment.info.n_token == 70);
  REQUIRE(attachment.records.size() == 2);
  CHECK(attachment.records[1].first_token == 50);
  CHECK(attachment.records[1].n_token == 20);
}

TEST_CASE("short: daemon: a damaged record is refused and the next one is not") {
  const TemporaryDirectory directory;
  const SessionDescription description = describe("chat");
  Daemon daemon(directory.path());
  Client client = daemon.connect();
  const client::Session session = create_and_open(client, description);

  Record bad = make_tail(description.shape, 0, 100, 1);
  bad.bytes[77] ^= std::byte{1};
  const client::RecordUpload upload = upload_of(bad);
  REQUIRE_OK(client.put_record(session.info.id, upload));
  const auto refused = client.commit(session.info.id, {.n_token = 100});
  REQUIRE_FALSE(refused.has_value());
  CHECK(refused.error().code == Errc::corrupt);

  Record misplaced = make_tail(description.shape, 0, 100, 1);
  misplaced.draft.meta.chunks[0].layer = 5;
  REQUIRE_OK(client.put_record(session.info.id, upload_of(misplaced)));
  const auto unfit = client.commit(session.info.id, {.n_token = 100});
  REQUIRE_FALSE(unfit.has_value());
  CHECK(unfit.error().code == Errc::invalid_argument);

  const auto gap =
      append(client, {.id = session.info.id, .name = "", .n_token = 5}, description.shape, 10);
  CHECK_FALSE(gap.has_value());
  CHECK(client.stats().value().n_pending_record == 0);
  append_some(client, session.info, description.shape, 1, 100);
}

TEST_CASE("short: daemon: a cancelled upload leaves the session and the connection in order") {
  const TemporaryDirectory directory;
  const SessionDescription description = describe("chat", 512);
  Daemon daemon(directory.path());
  Client client = daemon.connect();
  const client::Session session = create_and_open(client, description);
  const Record small = make_tail(description.shape, 0, 16, 1);
  const Record large = make_tail(description.shape, 16, 4000, 2);
  const std::vector<client::RecordUpload> uploads{upload_of(small), upload_of(large)};
  std::uint64_t last = 0;
  const auto cancel_halfway = [&](std::uint64_t done, std::uint64_t total) {
    CHECK(done >= last);
    CHECK(total == small.draft.payload_bytes + large.draft.payload_bytes);
    last = done;
    return done < total / 2;
  };
  const auto cancelled = client.commit(session.info.id, {.n_token = 4016}, uploads, cancel_halfway);
  REQUIRE_FALSE(cancelled.has_value());
  CHECK(cancelled.error().code == Errc::cancelled);
  CHECK(client.stats().value().n_pending_record == 0);
  CHECK(client.inspect("chat").value().info.n_token == 0);
  const auto all = client.commit(session.info.id, {.n_token = 4016}, uploads);
  REQUIRE_OK(all);
  CHECK(all->n_token == 4016);
}

TEST_CASE("short: daemon: many sessions are listed in pages, by name") {
  const TemporaryDirectory directory;
  Daemon daemon(directory.path());
  Client client = daemon.connect();
  constexpr std::size_t kSessions = wire::kSessionsPerPage + 44;
  for (std::size_t i = 0; i < kSessions; ++i) {
    REQUIRE_OK(client.create_session(describe("chat " + std::to_string(i))));
  }
  const auto sessions = client.list();
  REQUIRE_OK(sessions);
  CHECK(sessions->size() == kSessions);
  CHECK(std::is_sorted(sessions->begin(), sessions->end(),
                       [](const auto& a, const auto& b) { return a.name < b.name; }));
  CHECK(client.stats().value().n_session == kSessions);
}

TEST_CASE("short: daemon: SIGTERM and the shutdown verb end it with 0 and remove the socket") {
  const TemporaryDirectory directory;
  for (const bool by_verb : {false, true}) {
    CAPTURE(by_verb);
    Daemon daemon(directory.path());
    Client client = daemon.connect();
    if (by_verb) {
      REQUIRE_OK(client.shutdown());
    } else {
      daemon.signal(SIGTERM);
    }
    CHECK(daemon.wait() == 0);
    CHECK_FALSE(std::filesystem::exists(daemon.socket_path()));
    const auto pong = client.ping();
    REQUIRE_FALSE(pong.has_value());
    CHECK(pong.error().code == Errc::disconnected);
    const auto gone = Client::connect(daemon.client_options());
    REQUIRE_FALSE(gone.has_value());
    CHECK(gone.error().code == Errc::unreachable);
  }
}

TEST_CASE("short: daemon: a second one on the same directory or socket says so and ends with 2") {
  const TemporaryDirectory directory;
  const TemporaryDirectory other;
  Daemon daemon(directory.path());
  Client client = daemon.connect();

  Daemon same_directory(other.path(), {"--data-dir", daemon.data_directory()});
  CHECK(same_directory.wait() == 2);
  CHECK(same_directory.log().find("another kvaultd is running") != std::string::npos);
  CHECK(same_directory.log().find(daemon.data_directory()) != std::string::npos);

  Daemon same_socket(other.path(), {"--socket", daemon.socket_path()});
  CHECK(same_socket.wait() == 2);
  CHECK(same_socket.log().find("another kvaultd is running") != std::string::npos);
  REQUIRE_OK(client.ping());
  REQUIRE_OK(daemon.connect().ping());
}

TEST_CASE("short: daemon: it ends when nobody has needed it for a while") {
  const TemporaryDirectory directory;
  Daemon daemon(directory.path(), {"--idle-exit", "1"});
  {
    Client client = daemon.connect();
    ::poll(nullptr, 0, 2500);
    REQUIRE_OK(client.ping());
  }
  CHECK(daemon.wait() == 0);
}

TEST_CASE("short: daemon: apps start it, all at once, and find the same one") {
  const TemporaryDirectory directory;
  ClientOptions options;
  options.data_directory = directory.path() / "data";
  options.socket_path = directory.path() / "s" / "kvaultd.sock";
  options.daemon_path = KVAULT_TEST_KVAULTD;
  options.connect_timeout_ms = 30'000;
  std::vector<std::string> server_ids(6);
  std::vector<std::thread> apps;
  for (std::string& server_id : server_ids) {
    apps.emplace_back([&server_id, &options] {
      const Result<Client> client = Client::connect(options);
      server_id = client ? client->server_id() : client.error().message;
    });
  }
  for (std::thread& app : apps) app.join();
  for (const std::string& server_id : server_ids) {
    CHECK(server_id == server_ids[0]);
    CHECK(server_id.size() == 32);
  }
  Result<Client> client = Client::connect(options);
  REQUIRE_OK(client);
  REQUIRE_OK(client->shutdown());
  // The next app comes while it is leaving: it waits, and starts one of its own.
  Result<Client> next = Client::connect(options);
  REQUIRE_OK(next);
  CHECK(next->server_id() != server_ids[0]);
  REQUIRE_OK(next->shutdown());
  for (int i = 0; i < 1000 && std::filesystem::exists(options.socket_path); ++i) {
    ::poll(nullptr, 0, 10);
  }
}

TEST_CASE("short: daemon: an app is told why it cannot be started") {
  const TemporaryDirectory directory;
  ClientOptions options;
  options.data_directory = directory.path() / "data";
  options.socket_path = directory.path() / "s" / "kvaultd.sock";
  options.daemon_path = directory.path() / "no such program";
  const Result<Client> absent = Client::connect(options);
  REQUIRE_FALSE(absent.has_value());
  CHECK(absent.error().message.find("no such program") != std::string::npos);

  options.daemon_path = KVAULT_TEST_KVAULTD;
  std::ofstream(options.data_directory) << "a file where a directory should be";
  const Result<Client> broken = Client::connect(options);
  REQUIRE_FALSE(broken.has_value());
  CHECK(broken.error().code == Errc::unreachable);
  CHECK(broken.error().message.find("not a directory") != std::string::npos);
}

TEST_CASE("daemon: commits acknowledged before kill -9 are there, at any moment of the kill") {
  const TemporaryDirectory directory;
  const SessionDescription description = describe("chat");
  std::uint64_t n_acknowledged = 0;
  for (int round = 0; round < 25; ++round) {
    CAPTURE(round);
    Daemon daemon(directory.path());
    Client client = daemon.connect();
    if (round == 0) REQUIRE_OK(client.create_session(description));
    Result<client::Session> session = client.open_session("chat", &description, OpenMode::write);
    REQUIRE_OK(session);
    client::SessionInfo info = session->info;
    CHECK(info.commit_number >= n_acknowledged);
    CHECK(info.commit_number <= n_acknowledged + 1);  // done, but not acknowledged in time
    std::thread killer([&daemon, round] {
      ::poll(nullptr, 0, 3 + round * 7 % 60);
      daemon.signal(SIGKILL);
    });
    for (;;) {
      const auto commit = append(client, info, description.shape, 3, 7);
      if (!commit) break;
      info.commit_number = commit->commit_number;
      info.n_token = commit->n_token;
    }
    killer.join();
    n_acknowledged = info.commit_number;
  }
  Daemon daemon(directory.path());
  Client client = daemon.connect();
  REQUIRE_OK(client.open_session("chat", nullptr, OpenMode::read));
  const SessionId id = client.inspect("chat").value().info.id;
  check_records(client.attach(id).value());
  CHECK(client.verify("chat").value().n_damage == 0);
  MESSAGE("acknowledged commits: " << n_acknowledged);
}

}  // namespace
}  // namespace kvault::test
