#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "tools/bench/daemon/figure.hpp"

namespace kvault::tools {

/// --daemon and what goes with it, as written.
struct DaemonFlags {
  bool is_asked = false;
  std::uint64_t n_token = 32768;
  std::string folder;   ///< where the data directory is made; empty: the system's temporary folder
  std::string kvaultd;  ///< empty: $KVAULTD, this build's, PATH
  bool is_quick = false;
  bool is_encrypted = false;
};

void add_daemon_options(CLI::App& app, DaemonFlags& flags);

/// Starts a kvaultd of its own and measures resume, saves and requests.
Result<std::vector<Figure>> measure_daemon(const DaemonFlags& flags);

}  // namespace kvault::tools
