#include "tools/demo/demo_stage.hpp"

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <random>
#include <system_error>
#include <thread>
#include <utility>

#include "core/os/process.hpp"
#include "tools/model/hash.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kDaemonStart{20};
constexpr const char* kDaemonLog = "kvaultd.log";
constexpr const char* kAppLog = "app.log";
constexpr const char* kSession = "demo";

/// $KVAULTD, or the daemon beside this program, where it is installed or built.
Result<fs::path> find_daemon() {
  std::error_code ignored;
  if (const char* given = std::getenv("KVAULTD"); given != nullptr && *given != '\0') {
    if (fs::exists(given, ignored)) return given;
    return fail(Errc::not_found, message("$KVAULTD is ", given, ", which does not exist"));
  }
  const fs::path here = executable_path().parent_path();
  for (const fs::path& path : {here / "kvaultd", here / ".." / "daemon" / "kvaultd"}) {
    if (fs::exists(path, ignored)) return path;
  }
  if (fs::path path = find_program("kvaultd"); !path.empty()) return path;
  return fail(Errc::not_found,
              message("no kvaultd beside ", here.native(), "; name it by $KVAULTD"));
}

/// The last line of a file; empty if there is none.
std::string last_line(const fs::path& path) {
  std::ifstream stream(path);
  std::string last;
  for (std::string line; std::getline(stream, line);) {
    if (!line.empty()) last = line;
  }
  return last;
}

}  // namespace

Result<DemoDirectory> DemoDirectory::create(bool keep) {
  std::error_code error;
  const fs::path parent = fs::temp_directory_path(error);
  if (error) return fail(Errc::io, message("no temporary directory: ", error.message()));
  std::random_device device;
  const std::uint64_t number = std::uint64_t{device()} << 32U | device();
  fs::path path = parent / ("kvault-demo-" + hex_of(number));
  KVAULT_CHECK(make_private_directory(path));
  return DemoDirectory(std::move(path), keep);
}

DemoDirectory::DemoDirectory(DemoDirectory&& other) noexcept
    : path_(std::exchange(other.path_, {})), keep_(other.keep_) {}

DemoDirectory::~DemoDirectory() {
  if (path_.empty() || keep_) return;
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

DemoStage::DemoStage(DemoDirectory directory, WorkloadOptions workload, fs::path daemon)
    : directory_(std::move(directory)),
      workload_(std::move(workload)),
      daemon_program_(std::move(daemon)) {}

Result<DemoStage> DemoStage::create(const WorkloadOptions& workload, bool keep) {
  KVAULT_TRY(fs::path daemon, find_daemon());
  KVAULT_TRY(DemoDirectory directory, DemoDirectory::create(keep));
  KVAULT_CHECK(make_private_directory(directory.path() / "run"));
  return DemoStage(std::move(directory), workload, std::move(daemon));
}

Result<> DemoStage::start_daemon() {
  daemon_.reset();
  KVAULT_TRY(
      ChildProcess daemon,
      ChildProcess::start({.program = daemon_program_,
                           .arguments = {"--socket", socket().native(), "--data-dir",
                                         (directory() / "data").native(), "--idle-exit", "600"},
                           .stderr_file = directory() / kDaemonLog}));
  daemon_.emplace(std::move(daemon));
  const auto deadline = std::chrono::steady_clock::now() + kDaemonStart;
  for (;;) {
    const Result<sdk::Client> client = connect();
    if (client) return {};
    if (std::chrono::steady_clock::now() > deadline) {
      return fail(client.error().code,
                  message("kvaultd does not answer: ", client.error().message,
                          "; its log ends with: ", last_line(directory() / kDaemonLog)));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

Result<> DemoStage::start_app() {
  app_.reset();
  ChildOptions options{
      .program = executable_path(),
      .arguments = {"demo-app", "--socket", socket().native(), "--session", kSession, "--logits",
                    logits_file().native(), "--n-token", std::to_string(workload_.n_token),
                    "--preset", workload_.preset, "--device", workload_.device},
      .stderr_file = directory() / kAppLog,
      .reads_output = true};
  if (!workload_.model_directory.empty()) {
    options.arguments.insert(options.arguments.end(), {"--model", workload_.model_directory});
  }
  KVAULT_TRY(ChildProcess app, ChildProcess::start(options));
  app_.emplace(std::move(app));
  return {};
}

void DemoStage::kill_both() {
  if (daemon_) daemon_->kill();
  if (app_) app_->kill();
}

std::optional<std::string> DemoStage::read_app_line() {
  return app_ ? app_->read_line() : std::nullopt;
}

int DemoStage::wait_for_app() { return app_ ? app_->wait() : -1; }

Result<sdk::Client> DemoStage::connect() const {
  return from_sdk(
      sdk::Client::connect(
          {.auto_start = false, .socket_path = socket().native(), .app_name = "kvault demo"}),
      "connect");
}

std::string DemoStage::last_words_of_app() const { return last_line(directory() / kAppLog); }

}  // namespace kvault::tools
