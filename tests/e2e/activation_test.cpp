#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <optional>
#include <string>

#include "core/os/file.hpp"
#include "core/os/process.hpp"
#include "core/os/socket.hpp"
#include "tests/e2e/daemon_process.hpp"
#include "tests/support/chat.hpp"
#include "tests/support/skip.hpp"

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

namespace {

bool has(const char* program) {
  return std::system((std::string("command -v ") + program + " >/dev/null").c_str()) == 0;
}

}  // namespace

TEST_CASE("activation: systemd's own tool starts kvaultd for the first client") {
  if (!has("systemd-socket-activate")) KVAULT_TEST_SKIP("there is no systemd-socket-activate");
  const test::TemporaryDirectory directory;
  const std::string path = socket_path_in(directory.path()).native();
  const std::string data = (directory.path() / "data").native();
  std::string command = "umask 077; exec systemd-socket-activate -l '" + path + "' '" +
                        KVAULT_TEST_KVAULTD + "' --data-dir '" + data + "' --socket '" + path +
                        "' --idle-exit 1 2>'" + (directory.path() / "log").native() + "'";
  std::string shell = "/bin/sh";
  std::string flag = "-c";
  char* const argv[] = {shell.data(), flag.data(), command.data(), nullptr};
  pid_t pid = 0;
  REQUIRE(::posix_spawn(&pid, argv[0], nullptr, nullptr, argv, environ) == 0);
  ClientOptions options;
  options.socket_path = path;
  options.data_directory = data;
  options.auto_start = false;
  std::optional<Client> client;
  for (int i = 0; i < 1000 && !client; ++i) {
    auto connected = Client::connect(options);
    if (connected) client.emplace(std::move(*connected));
    ::poll(nullptr, 0, 10);
  }
  const bool is_served = client && client->create_session(description("chat")).has_value();
  CHECK(is_served);
  client.reset();
  if (!is_served) ::kill(pid, SIGKILL);
  int status = -1;
  REQUIRE(::waitpid(pid, &status, 0) == pid);  // it ends a second after its last client
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  CHECK(std::filesystem::is_socket(path));
}

TEST_CASE("activation: systemd finds no fault in the units") {
  if (!has("systemd-analyze")) KVAULT_TEST_SKIP("there is no systemd-analyze");
  const test::TemporaryDirectory directory;
  const std::filesystem::path units =
      std::filesystem::path(KVAULT_TEST_SOURCE_DIR) / "packaging/systemd";
  const std::filesystem::path programs = std::filesystem::path(KVAULT_TEST_KVAULTD).parent_path();
  const auto text_of = [](const std::filesystem::path& path) {
    std::ifstream file(path);
    return std::string{std::istreambuf_iterator<char>(file), {}};
  };
  std::string service = text_of(units / "kvaultd.service.in");
  const std::string placeholder = "@KVAULT_FULL_BINDIR@";
  REQUIRE(service.find(placeholder) != std::string::npos);
  service.replace(service.find(placeholder), placeholder.size(), programs.native());
  std::ofstream(directory.path() / "kvaultd.service") << service;
  std::filesystem::copy(units / "kvaultd.socket", directory.path());
  const auto verify = [&] {
    const std::string folder = directory.path().native();
    const int status =
        std::system(("cd '" + folder + "' && XDG_RUNTIME_DIR='" + folder +
                     "' timeout 60 systemd-analyze --man=no --user verify ./kvaultd.service "
                     "./kvaultd.socket >out 2>&1")
                        .c_str());
    const std::string said = text_of(directory.path() / "out");
    return (WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "" : "failed: ") + said;
  };
  const std::string said = verify();
  if (said.find("Failed to initialize manager") != std::string::npos) {
    KVAULT_TEST_SKIP("systemd-analyze cannot run here");
  }
  CHECK(said == "");
  // It would have found one.
  std::ofstream(directory.path() / "kvaultd.service", std::ios::app) << "NoSuchWord=yes\n";
  CHECK(verify().find("NoSuchWord") != std::string::npos);
}

}  // namespace kvault
