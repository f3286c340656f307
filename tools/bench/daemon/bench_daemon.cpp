#include "tools/bench/daemon/bench_daemon.hpp"

#include <stdlib.h>

#include <chrono>
#include <cstdlib>
#include <string>
#include <system_error>
#include <thread>

#include "core/os/process.hpp"

namespace kvault::tools {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kIdleExitS = 60;

/// The build's own daemon, where this is a build; else the client looks where it always does.
fs::path find_kvaultd(const fs::path& given) {
  if (!given.empty() || std::getenv("KVAULTD") != nullptr) return given;
  const fs::path built = executable_path().parent_path() / "../daemon/kvaultd";
  std::error_code ignored;
  return fs::is_regular_file(built, ignored) ? built.lexically_normal() : fs::path();
}

}  // namespace

Result<BenchDaemon> BenchDaemon::start(const fs::path& parent, const fs::path& kvaultd,
                                       bool is_encrypted) {
  std::string pattern = (parent / "kvault-bench-XXXXXX").native();
  if (::mkdtemp(pattern.data()) == nullptr) {
    return fail(Errc::io, message("cannot make a folder in ", parent.native()));
  }
  std::error_code ignored;
  BenchDaemon daemon(fs::absolute(pattern, ignored), find_kvaultd(kvaultd));
  if (is_encrypted) {
    KVAULT_TRY(const SecretKey token, SecretKey::random());
    daemon.name_space_ = {"bench", token, NamespaceCreation::encrypted};
  }
  KVAULT_CHECK(daemon.connect());
  return daemon;
}

ClientOptions BenchDaemon::options(bool auto_start) const {
  ClientOptions options;
  options.socket_path = folder_ / "s" / "kvaultd.sock";
  options.data_directory = folder_ / "data";
  options.daemon_path = kvaultd_;
  options.app_name = "kvault-bench";
  options.auto_start = auto_start;
  options.idle_exit_s = kIdleExitS;
  options.name_space = name_space_;
  return options;
}

BenchDaemon::~BenchDaemon() {
  if (folder_.empty()) return;
  if (Result<Client> client = Client::connect(options(false)); client) {
    static_cast<void>(client->shutdown());
  }
  for (int i = 0; i < 500 && Client::connect(options(false)); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

}  // namespace kvault::tools
