#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>
#include <string>

#include "tests/e2e/daemon_process.hpp"
#include "tests/e2e/daemon_records.hpp"
#include "tests/support/skip.hpp"

// Who can come to kvaultd, and what it tells of chats where anyone may look.

namespace kvault::test {
namespace {

namespace fs = std::filesystem;

constexpr uid_t kNobody = 65534;

/// Runs `work` as another user, in a process of its own; what it returned, below 128.
pid_t start_as_nobody(const std::function<int()>& work) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child > 0) return child;
  const bool is_nobody = ::setgid(kNobody) == 0 && ::setuid(kNobody) == 0;
  ::_exit(is_nobody ? work() : 99);
}

int wait_for(pid_t child) {
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  REQUIRE(path.size() < sizeof(address.sun_path));
  std::memcpy(address.sun_path, path.c_str(), path.size());
  return address;
}

/// 0: connected and hung up on; else where it ended.
int be_sent_away(const sockaddr_un& address) {
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  if (socket < 0) return 1;
  if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return 2;
  }
  pollfd readable = {socket, POLLIN, 0};
  if (::poll(&readable, 1, 10'000) != 1) return 3;
  char byte = 0;
  return ::recv(socket, &byte, 1, 0) <= 0 ? 0 : 4;
}

/// The inodes of a process's sockets.
std::set<std::string> sockets_of(pid_t pid) {
  std::set<std::string> inodes;
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    std::error_code ignored;
    const std::string target = fs::read_symlink(entry.path(), ignored).native();
    if (target.rfind("socket:[", 0) == 0) inodes.insert(target.substr(8, target.size() - 9));
  }
  return inodes;
}

}  // namespace

TEST_CASE("exposure: kvaultd hangs up on another user who came as far as its socket") {
  if (::geteuid() != 0) KVAULT_TEST_SKIP("only root can be another user");
  const TemporaryDirectory directory;
  const Daemon daemon(directory.path());
  Client own = daemon.connect();
  // As if somebody had opened the way.
  fs::permissions(directory.path(), fs::perms(0755));
  fs::permissions(fs::path(daemon.socket_path()).parent_path(), fs::perms(0755));
  fs::permissions(daemon.socket_path(), fs::perms(0666));
  const sockaddr_un address = address_of(daemon.socket_path());
  CHECK(wait_for(start_as_nobody([&] { return be_sent_away(address); })) == 0);
  CHECK(own.ping());
  CHECK(daemon.log().find("is user 65534") != std::string::npos);
}

TEST_CASE("exposure: a client says nothing to a socket that another user listens on") {
  if (::geteuid() != 0) KVAULT_TEST_SKIP("only root can be another user");
  const TemporaryDirectory directory;
  const fs::path open_folder = directory.path() / "open";
  fs::create_directory(open_folder);
  fs::permissions(directory.path(), fs::perms(0755));
  fs::permissions(open_folder, fs::perms(0777));
  const std::string path = (open_folder / "s").native();
  const sockaddr_un address = address_of(path);
  const pid_t impostor = start_as_nobody([&] {
    const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
    if (::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      return 1;
    }
    if (::chmod(path.c_str(), 0666) != 0 || ::listen(listener, 4) != 0) return 2;
    const int client = ::accept(listener, nullptr, nullptr);
    pollfd readable = {client, POLLIN, 0};
    if (client < 0 || ::poll(&readable, 1, 10'000) != 1) return 3;
    char byte = 0;
    return ::recv(client, &byte, 1, 0) <= 0 ? 0 : 4;
  });
  ClientOptions options;
  options.socket_path = path;
  options.data_directory = (directory.path() / "data").native();
  options.app_name = "e2e";
  options.auto_start = false;
  Result<Client> client = Client::connect(options);
  for (int i = 0; i < 500 && !client && client.error().code == Errc::unreachable; ++i) {
    ::poll(nullptr, 0, 10);
    client = Client::connect(options);
  }
  REQUIRE(!client);
  CHECK(client.error().code == Errc::permission);
  CHECK(wait_for(impostor) == 0);
}

TEST_CASE("exposure: every socket of kvaultd is a local one") {
  const TemporaryDirectory directory;
  const Daemon daemon(directory.path());
  const Client client = daemon.connect();
  std::set<std::string> local;
  std::ifstream table("/proc/" + std::to_string(daemon.pid()) + "/net/unix");
  for (std::string line; std::getline(table, line);) {
    std::istringstream words(line);
    std::string word;
    for (int i = 0; i < 7; ++i) words >> word;
    local.insert(word);
  }
  const std::set<std::string> sockets = sockets_of(daemon.pid());
  if (sockets.empty()) KVAULT_TEST_SKIP("the descriptors of kvaultd cannot be listed here");
  CHECK(sockets.size() >= 2);  // it listens, and has a client
  CHECK(std::ranges::includes(local, sockets));
}

TEST_CASE("exposure: the log holds no name, label or token id of a chat") {
  const TemporaryDirectory directory;
  const Daemon daemon(directory.path());
  Client client = daemon.connect();
  const SessionDescription description = describe("zebra-diagnosis");
  const auto created = client.create_session(description);
  REQUIRE_OK(created);
  REQUIRE_OK(client.open_session("zebra-diagnosis", &description, client::OpenMode::write));
  Record tail = make_tail(description.shape, 0, 2, 1);
  tail.draft.meta.token_ids = {71'234'567, 78'901'234};
  const client::RecordUpload upload = upload_of(tail);
  REQUIRE_OK(client.commit(created->info.id, {.n_token = 2}, std::span(&upload, 1)));
  client::SessionChange change;
  change.labels = {"quokka-therapy"};
  REQUIRE_OK(client.update_session("zebra-diagnosis", change));
  REQUIRE_OK(client.fork_session("zebra-diagnosis", 2, "zebra-prognosis"));
  REQUIRE_OK(client.verify({}));
  CHECK(!client.delete_session("no such zebra"));
  const std::string log = daemon.log();
  REQUIRE(log.find("e2e") != std::string::npos);
  for (const char* const secret : {"zebra", "quokka", "71234567", "78901234"}) {
    CAPTURE(secret);
    CHECK(log.find(secret) == std::string::npos);
  }
}

}  // namespace kvault::test
