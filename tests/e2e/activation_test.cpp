#include <doctest/doctest.h>
#include <fcntl.h>
#include <stdlib.h>

#include <filesystem>
#include <future>
#include <string>

#include "core/os/file.hpp"
#include "core/os/process.hpp"
#include "core/os/socket.hpp"
#include "tests/e2e/daemon_process.hpp"
#include "tests/support/chat.hpp"

// How kvaultd comes and goes: with a socket that systemd passes, and in place of an older kvaultd.

namespace kvault {
namespace {

/// Where test::Daemon expects the socket.
std::filesystem::path socket_path_in(const std::filesystem::path& directory) {
  REQUIRE(make_private_directory(directory / "s"));
  return directory / "s" / "kvaultd.sock";
}

SessionDescription description(std::string name) {
  return {std::move(name), {}, test::cache_options(Scheme::tq4, Scheme::tq4).shape};
}

}  // namespace

TEST_CASE(
    "short: activation: a passed socket is served, and clients that came first are answered") {
  const test::TemporaryDirectory directory;
  const std::filesystem::path path = socket_path_in(directory.path());
  const Socket listener = listen_local(path).value();
  for (int life = 0; life < 2; ++life) {
    ClientOptions options;
    options.socket_path = path;
    options.auto_start = false;
    auto early = std::async(std::launch::async, [options]() -> Result<client::Pong> {
      KVAULT_TRY(Client client, Client::connect(options));
      return client.ping();
    });
    // Nobody serves yet: the client waits in the backlog.
    CHECK(early.wait_for(std::chrono::milliseconds(100)) == std::future_status::timeout);
    test::Daemon daemon(directory.path(), {}, listener.descriptor());
    const Result<client::Pong> pong = early.get();
    if (!pong) FAIL(pong.error().message << daemon.log());
    Client client = daemon.connect();
    if (life == 0) CHECK(client.create_session(description("chat")));
    if (life == 1) CHECK(client.inspect("chat"));
    daemon.signal(SIGTERM);
    CHECK(daemon.wait() == 0);
    CHECK(std::filesystem::is_socket(path));  // it belongs to who passed it
  }
  // It ends after its last client as ever, and the socket goes on listening.
  test::Daemon daemon(directory.path(), {"--idle-exit", "1"}, listener.descriptor());
  daemon.connect();
  CHECK(daemon.wait() == 0);
  CHECK(connect_local(path, std::chrono::steady_clock::now() + std::chrono::seconds(1)));
}

TEST_CASE("short: activation: what is passed and no listening socket at our path is refused") {
  const test::TemporaryDirectory directory;
  const std::filesystem::path path = socket_path_in(directory.path());
  const Socket listener = listen_local(path).value();
  const Deadline deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  const Socket connected = connect_local(path, deadline).value();
  const File file = File::create(directory.path() / "file").value();
  for (const int descriptor : {connected.descriptor(), file.descriptor()}) {
    test::Daemon daemon(directory.path(), {}, descriptor);
    CHECK(daemon.wait() == 1);
    CHECK(daemon.log().find("the socket passed to this process") != std::string::npos);
  }
  const std::string other = (directory.path() / "other.sock").native();
  test::Daemon daemon(directory.path(), {"--socket", other}, listener.descriptor());
  CHECK(daemon.wait() == 1);
  CHECK(daemon.log().find("--socket says") != std::string::npos);
}

TEST_CASE("short: activation: variables meant for another process are not believed") {
  const test::TemporaryDirectory directory;
  ::setenv("LISTEN_PID", "1", 1);
  ::setenv("LISTEN_FDS", "1", 1);
  test::Daemon daemon(directory.path());
  ::unsetenv("LISTEN_PID");
  ::unsetenv("LISTEN_FDS");
  daemon.connect();
  daemon.signal(SIGTERM);
  CHECK(daemon.wait() == 0);
  CHECK(!std::filesystem::exists(daemon.socket_path()));
}

TEST_CASE("short: replace: a kvaultd takes the place of another, and clients connect anew") {
  const test::TemporaryDirectory directory;
  test::Daemon old(directory.path(), {"--replace"});  // nobody is there: it just serves
  Client client = old.connect();
  REQUIRE(client.create_session(description("chat")));
  REQUIRE(client.open_session("chat", nullptr, client::OpenMode::read));
  const std::string server_id = client.server_id();
  test::Daemon next(directory.path(), {"--replace"});
  CHECK(old.wait() == 0);
  CHECK(client.ping().error().code == Errc::disconnected);
  Client again = next.connect();
  CHECK(again.server_id() != server_id);
  CHECK(again.inspect("chat"));
  // Without --replace the one that is there stays.
  test::Daemon third(directory.path());
  CHECK(third.wait() == 2);
  CHECK(again.ping());
}

}  // namespace kvault
