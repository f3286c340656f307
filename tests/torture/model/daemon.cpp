#include "tests/torture/model/daemon.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

#include "tests/torture/model/upload.hpp"

extern char** environ;

namespace kvault::torture {
namespace {

constexpr int kEndingPatienceMs = 20'000;

/// This build's, or the one that $KVAULTD names: one with sanitizers, say.
std::string kvaultd() {
  const char* given = std::getenv("KVAULTD");
  return given == nullptr ? KVAULT_TORTURE_KVAULTD : given;
}

/// For a library that is loaded before the sanitizer's.
std::vector<std::string> sanitizer_environment() {
#if defined(__SANITIZE_ADDRESS__)
  const char* given = std::getenv("ASAN_OPTIONS");
  return {message("ASAN_OPTIONS=verify_asan_link_order=0:", given == nullptr ? "" : given)};
#else
  return {};
#endif
}

std::vector<char*> pointers_to(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Daemon::Daemon(std::filesystem::path directory, const std::vector<std::string>& environment)
    : directory_(std::move(directory)) {
  std::filesystem::create_directories(directory_);
  std::vector<std::string> words = {kvaultd(),      "--data-dir",  path_of("data"), "--socket",
                                    path_of("s/k"), "--log-level", "warn"};
  std::vector<std::string> variables = sanitizer_environment();
  variables.insert(variables.end(), environment.begin(), environment.end());
  for (char** variable = environ; *variable != nullptr; ++variable) {
    variables.emplace_back(*variable);
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 2, path_of("log").c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND, 0600);
  const int error = ::posix_spawn(&pid_, words[0].c_str(), &actions, nullptr,
                                  pointers_to(words).data(), pointers_to(variables).data());
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw std::runtime_error("cannot start " + words[0]);
}

std::string Daemon::path_of(const char* name) const { return (directory_ / name).native(); }

void Daemon::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(std::exchange(pid_, 0), nullptr, 0);
}

bool Daemon::has_ended() {
  if (pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG) == pid_) pid_ = 0;
  return pid_ == 0;
}

Result<> Daemon::stop() {
  if (has_ended()) return {};
  ::kill(pid_, SIGTERM);
  for (int waited = 0; waited < kEndingPatienceMs; waited += 10) {
    if (has_ended()) return {};
    ::poll(nullptr, 0, 10);
  }
  return fail(Errc::timeout, "kvaultd does not end");
}

Result<Client> Daemon::connect(std::uint32_t patience_ms) const {
  ClientOptions options;
  options.socket_path = path_of("s/k");
  options.data_directory = path_of("data");
  options.app_name = "torture";
  options.auto_start = false;
  options.request_timeout_ms = 20'000;
  if (is_encrypted_) {
    options.name_space = {"torture", test_secret(), NamespaceCreation::encrypted};
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms);
  for (;;) {
    Result<Client> client = Client::connect(options);
    const bool is_starting = !client && client.error().code == Errc::unreachable;
    if (!is_starting || std::chrono::steady_clock::now() > end) return client;
    siginfo_t info{};
    const bool is_gone =
        ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid == pid_;
    if (is_gone) return client;
    ::poll(nullptr, 0, 3);
  }
}

std::uint64_t Daemon::cpu_ms() const {
  std::ifstream file(message("/proc/", pid_, "/stat"));
  std::string word;
  std::uint64_t ticks = 0;
  for (int field = 1; file >> word; ++field) {
    if (field == 14 || field == 15) ticks += std::stoull(word);
  }
  return ticks * 1000 / static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
}

std::uint64_t Daemon::n_descriptor() const {
  std::uint64_t count = 0;
  std::error_code ignored;
  for (const auto& entry :
       std::filesystem::directory_iterator(message("/proc/", pid_, "/fd"), ignored)) {
    static_cast<void>(entry);
    ++count;
  }
  return count;
}

std::uint64_t Daemon::resident_bytes() const {
  std::ifstream file(message("/proc/", pid_, "/statm"));
  std::uint64_t total = 0;
  std::uint64_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::string Daemon::sanitizer_report() const {
  std::ifstream log(path_of("log"));
  for (std::string line; std::getline(log, line);) {
    for (const char* const sign : {"Sanitizer:", "runtime error:"}) {
      if (line.find(sign) != std::string::npos) return line;
    }
  }
  return {};
}

}  // namespace kvault::torture
