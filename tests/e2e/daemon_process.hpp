#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "sdk/src/client.hpp"
#include "tests/support/temporary_directory.hpp"

extern char** environ;

namespace kvault::test {

/// A kvaultd in the foreground, on the data and the socket of a directory; killed at the end.
class Daemon {
 public:
  /// passed_descriptor: what it is given as systemd gives a socket; -1: nothing.
  explicit Daemon(const std::filesystem::path& directory, std::vector<std::string> more = {},
                  int passed_descriptor = -1)
      : directory_(directory) {
    std::vector<std::string> words{KVAULT_TEST_KVAULTD, "--data-dir",  data_directory(), "--socket",
                                   socket_path(),       "--log-level", "debug"};
    words.insert(words.end(), more.begin(), more.end());
    if (passed_descriptor >= 0) {
      const char* const script = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";
      words.insert(words.begin(), {"/bin/sh", "-c", script, "sh"});
    }
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 2, log_path().c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                     0600);
    // Also its output: whoever waits for the test's own to end does not wait for kvaultd.
    posix_spawn_file_actions_adddup2(&actions, 2, 1);
    if (passed_descriptor >= 0) {
      posix_spawn_file_actions_adddup2(&actions, passed_descriptor, 3);
    }
    const int error = ::posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    REQUIRE(error == 0);
  }
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;
  ~Daemon() { kill(); }

  std::string data_directory() const { return (directory_ / "data").native(); }
  std::string socket_path() const { return (directory_ / "s" / "kvaultd.sock").native(); }
  std::string log_path() const { return (directory_ / "log").native(); }
  pid_t pid() const { return pid_; }

  /// Options of a client of this daemon that does not start another one.
  ClientOptions client_options() const {
    ClientOptions options;
    options.socket_path = socket_path();
    options.data_directory = data_directory();
    options.app_name = "e2e";
    options.auto_start = false;
    return options;
  }

  /// A client; waits while the daemon is still starting.
  Client connect() const {
    for (int i = 0;; ++i) {
      Result<Client> client = Client::connect(client_options());
      if (client) return std::move(*client);
      INFO(client.error().message);
      REQUIRE(client.error().code == Errc::unreachable);
      REQUIRE(i < 1000);
      ::poll(nullptr, 0, 10);
    }
  }

  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, 0), nullptr, 0);
  }
  void signal(int number) const { ::kill(pid_, number); }
  /// The exit status, -1 where a signal ended it; the test fails after 20 s.
  int wait() {
    for (int i = 0; i < 2000; ++i) {
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
      }
      ::poll(nullptr, 0, 10);
    }
    FAIL("kvaultd does not end");
    return -1;
  }
  std::string log() const {
    std::ifstream file(log_path());
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  std::filesystem::path directory_;
  pid_t pid_ = 0;
};

}  // namespace kvault::test
