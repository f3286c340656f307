#include "core/os/process.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <vector>

extern char** environ;

namespace kvault {
namespace {

namespace fs = std::filesystem;

/// What run_program keeps of a program's last words.
constexpr std::size_t kStderrSizeMax = 4096;

std::string describe(int error) { return message(std::strerror(error), " (errno ", error, ")"); }

/// An environment variable that holds an absolute path; XDG says to ignore any other.
fs::path directory_from(const char* variable) {
  const char* value = std::getenv(variable);
  if (value == nullptr || value[0] != '/') return {};
  return fs::path(value).lexically_normal();
}

std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t hash = 0xCBF29CE484222325U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  return hash;
}

/// The two attribute objects of posix_spawn, freed together.
struct SpawnSettings {
  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
  SpawnSettings() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
};

/// Signals at their defaults, no descriptor but 0, 1 and 2.
void settle(SpawnSettings& settings, int stderr_descriptor) {
  posix_spawn_file_actions_addopen(&settings.actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&settings.actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&settings.actions, stderr_descriptor, 2);
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
  posix_spawn_file_actions_addclosefrom_np(&settings.actions, 3);
#endif
  sigset_t all;
  sigset_t none;
  sigfillset(&all);
  sigemptyset(&none);
  posix_spawnattr_setsigdefault(&settings.attributes, &all);
  posix_spawnattr_setsigmask(&settings.attributes, &none);
  posix_spawnattr_setflags(&settings.attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
}

/// Reads the pipe until its other end closes or the deadline passes; false in the latter case.
bool drain(int descriptor, Deadline deadline, std::string& text) {
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now())
            .count();
    if (left <= 0) return false;
    pollfd entry{.fd = descriptor, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(std::min<long long>(left, 60'000)));
    if (ready < 0 && errno != EINTR) return true;
    if (ready <= 0) continue;
    std::array<char, 1024> buffer;
    const ssize_t size = ::read(descriptor, buffer.data(), buffer.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return true;
    const std::size_t room = kStderrSizeMax - std::min(kStderrSizeMax, text.size());
    text.append(buffer.data(), std::min(room, static_cast<std::size_t>(size)));
  }
}

Result<int> wait_for_exit(pid_t child, Deadline deadline) {
  for (;;) {
    int status = 0;
    const pid_t rc = ::waitpid(child, &status, WNOHANG);
    if (rc == child) {
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    // ECHILD: the host ignores SIGCHLD or reaps for itself; the status is lost, not the program.
    if (rc < 0 && errno == ECHILD) return 0;
    if (std::chrono::steady_clock::now() >= deadline) {
      return fail(Errc::timeout, message("process ", child, " is still running"));
    }
    ::poll(nullptr, 0, 2);
  }
}

[[noreturn]] void relay_report_and_exit(int report) {
  std::string text;  // the exit status as one character, then words for stderr
  drain(report, Deadline::max(), text);
  if (text.empty()) text = "\1ended before it was ready";
  const int status = text.front();
  text += '\n';
  if (status != 0) {
    [[maybe_unused]] const ssize_t written = ::write(2, text.data() + 1, text.size() - 1);
  }
  ::_exit(status);
}

}  // namespace

Result<int> run_program(const fs::path& program, std::span<const std::string> arguments,
                        Deadline deadline, std::string& stderr_text) {
  std::vector<std::string> words{program.native()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  int pipe_ends[2];
  if (::pipe2(pipe_ends, O_CLOEXEC) != 0) {
    return fail(Errc::io, message("pipe: ", describe(errno)));
  }
  SpawnSettings settings;
  settle(settings, pipe_ends[1]);
  pid_t child = 0;
  const int error = ::posix_spawn(&child, program.c_str(), &settings.actions, &settings.attributes,
                                  argv.data(), environ);
  ::close(pipe_ends[1]);
  if (error != 0) {
    ::close(pipe_ends[0]);
    const Errc code = error == ENOENT   ? Errc::not_found
                      : error == EACCES ? Errc::permission
                      : error == ENOMEM ? Errc::out_of_memory
                                        : Errc::io;
    return fail(code, message("cannot run ", program.native(), ": ", describe(error)));
  }
  drain(pipe_ends[0], deadline, stderr_text);
  ::close(pipe_ends[0]);
  return wait_for_exit(child, deadline);
}

Result<Background> Background::enter() {
  int pipe_ends[2];
  if (::pipe2(pipe_ends, O_CLOEXEC) != 0) {
    return fail(Errc::io, message("pipe: ", describe(errno)));
  }
  const pid_t child = ::fork();
  if (child < 0) {
    const int error = errno;
    ::close(pipe_ends[0]);
    ::close(pipe_ends[1]);
    return fail(Errc::out_of_memory, message("fork: ", describe(error)));
  }
  if (child > 0) {
    ::close(pipe_ends[1]);
    relay_report_and_exit(pipe_ends[0]);
  }
  ::close(pipe_ends[0]);
  ::setsid();
  return Background(pipe_ends[1]);
}

Background::~Background() {
  if (report_ >= 0) report_failure(1, "ended before it was ready");
}

void Background::report_ready() noexcept {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null >= 0) {
    for (const int standard : {0, 1, 2}) ::dup2(null, standard);
    ::close(null);
  }
  report(0, {});
}

void Background::report_failure(int status, std::string_view why) noexcept { report(status, why); }

void Background::report(int status, std::string_view why) noexcept {
  if (report_ < 0) return;
  const char first = static_cast<char>(status);
  [[maybe_unused]] ssize_t written = ::write(report_, &first, 1);
  written = ::write(report_, why.data(), why.size());
  ::close(std::exchange(report_, -1));
}

fs::path default_runtime_directory() {
  if (fs::path directory = directory_from("KVAULT_RUNTIME_DIR"); !directory.empty()) {
    return directory;
  }
  if (const fs::path directory = directory_from("XDG_RUNTIME_DIR"); !directory.empty()) {
    return directory / "kvault";
  }
  return message("/tmp/kvault-", ::geteuid());
}

Result<fs::path> default_data_directory() {
  if (fs::path directory = directory_from("KVAULT_DATA_DIR"); !directory.empty()) {
    return directory;
  }
  if (const fs::path directory = directory_from("XDG_DATA_HOME"); !directory.empty()) {
    return directory / "kvault";
  }
  const fs::path home = directory_from("HOME");
  if (home.empty()) {
    return fail(Errc::not_found,
                "no data directory: none of KVAULT_DATA_DIR, XDG_DATA_HOME and HOME is set");
  }
  return home / ".local/share/kvault";
}

Result<fs::path> default_socket_path(const fs::path& data_directory) {
  const fs::path runtime = default_runtime_directory();
  const Result<fs::path> standard = default_data_directory();
  const fs::path normal = data_directory.lexically_normal();
  if (standard && normal == *standard) return runtime / "kvaultd.sock";
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string name = "kvaultd-";
  const std::uint64_t hash = fnv1a(normal.native());
  for (int shift = 60; shift >= 0; shift -= 4) name += kDigits[(hash >> shift) & 15U];
  return runtime / (name + ".sock");
}

void keep_memory_private() noexcept {
#if defined(__linux__)
  ::prctl(PR_SET_DUMPABLE, 0);
#endif
}

Result<> make_private_directory(const fs::path& directory) {
  std::error_code ignored;
  if (directory.has_parent_path()) fs::create_directories(directory.parent_path(), ignored);
  if (::mkdir(directory.c_str(), S_IRWXU) != 0 && errno != EEXIST) {
    return fail(errno == ENOSPC ? Errc::disk_full : Errc::permission,
                message("cannot make ", directory.native(), ": ", describe(errno)));
  }
  struct stat status {};
  if (::lstat(directory.c_str(), &status) != 0) {
    return fail(Errc::io, message("cannot look at ", directory.native(), ": ", describe(errno)));
  }
  if (!S_ISDIR(status.st_mode)) {
    return fail(Errc::permission, message(directory.native(), " is not a directory"));
  }
  if (status.st_uid != ::geteuid()) {
    return fail(Errc::permission, message(directory.native(), " belongs to user ", status.st_uid,
                                          ", this process is user ", ::geteuid()));
  }
  if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    static constexpr char kOctal[] = "01234567";
    std::string mode;
    for (int shift = 6; shift >= 0; shift -= 3) mode += kOctal[(status.st_mode >> shift) & 7U];
    return fail(Errc::permission,
                message(directory.native(), " has mode ", mode, ", open to others; make it 700"));
  }
  return {};
}

fs::path executable_path() {
  std::error_code ignored;
  return fs::read_symlink("/proc/self/exe", ignored);
}

fs::path library_path() {
  Dl_info info{};
  const auto address = reinterpret_cast<const void*>(&library_path);
  if (::dladdr(address, &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code ignored;
  return fs::absolute(info.dli_fname, ignored);
}

fs::path find_program(std::string_view name) {
  const char* value = std::getenv("PATH");
  std::string_view rest = value != nullptr ? value : "";
  while (!rest.empty()) {
    const std::size_t end = rest.find(':');
    const fs::path candidate = fs::path(rest.substr(0, end)) / name;
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    if (candidate.is_absolute() && ::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return {};
}

}  // namespace kvault
