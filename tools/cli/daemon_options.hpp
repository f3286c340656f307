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
  std::string namespace_name;
  std::string token_file;
  bool no_auto_start = false;
  bool json = false;
};

/// --socket, --data-dir, --namespace, --token-file, --no-auto-start, --json.
void add_daemon_options(CLI::App& command, DaemonOptions& options);
/// namespace_create: kvault_client_options.
Result<sdk::Client> connect(const DaemonOptions& options, std::uint32_t namespace_create = 0);

/// "2025-11-03 14:05:09", UTC.
std::string format_time(std::int64_t unix_s);

}  // namespace kvault::tools
