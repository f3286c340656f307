#include "tools/cli/daemon_options.hpp"

#include <array>
#include <ctime>

#include "tools/model/sdk_result.hpp"

namespace kvault::tools {

void add_daemon_options(CLI::App& command, DaemonOptions& options) {
  command.add_option("--socket", options.socket_path, "Socket of kvaultd")->type_name("PATH");
  command.add_option("--data-dir", options.data_directory, "Data of a kvaultd that is started")
      ->type_name("DIR");
  command.add_flag("--no-auto-start", options.no_auto_start, "Fail where no kvaultd runs");
  command.add_flag("--json", options.json, "Print JSON");
}

Result<sdk::Client> connect(const DaemonOptions& options) {
  return from_sdk(sdk::Client::connect({.auto_start = !options.no_auto_start,
                                        .socket_path = options.socket_path,
                                        .data_directory = options.data_directory,
                                        .app_name = "kvault"}),
                  "connect");
}

std::string format_time(std::int64_t unix_s) {
  const auto time = static_cast<std::time_t>(unix_s);
  const std::tm* parts = std::gmtime(&time);
  std::array<char, 64> text{};
  if (parts == nullptr || std::strftime(text.data(), text.size(), "%F %T", parts) == 0) return "?";
  return text.data();
}

}  // namespace kvault::tools
