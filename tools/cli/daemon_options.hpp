#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "core/base/result.hpp"
#include "kvault/kvault.hpp"

namespace kvault::tools {

/// What every command that talks to kvaultd takes.
struct DaemonOptions {
  std::string socket_path;
  std::string data_directory;
  bool no_auto_start = false;
  bool json = false;
};

/// --socket, --data-dir, --no-auto-start, --json.
void add_daemon_options(CLI::App& command, DaemonOptions& options);
Result<sdk::Client> connect(const DaemonOptions& options);

/// "2025-11-03 14:05:09", UTC.
std::string format_time(std::int64_t unix_s);

}  // namespace kvault::tools
