#include <memory>

#include "tools/cli/commands.hpp"
#include "tools/cli/daemon_options.hpp"
#include "tools/cli/report.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

Result<int> show_stats(const DaemonOptions& options) {
  KVAULT_TRY(sdk::Client client, connect(options));
  KVAULT_TRY(const kvault_daemon_stats stats, from_sdk(client.stats(), "stats"));
  Report report;
  report.add("n_session", stats.n_session);
  report.add("n_connection", stats.n_connection);
  report.add("live_size_bytes", stats.live_size_bytes, format_size(stats.live_size_bytes));
  report.add("pack_size_bytes", stats.pack_size_bytes, format_size(stats.pack_size_bytes));
  report.print(options.json);
  return kExitDone;
}

}  // namespace

void add_stats_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("stats", "Show what kvaultd holds");
  auto options = std::make_shared<DaemonOptions>();
  add_daemon_options(*command, *options);
  command->footer("Example:\n  kvault stats --json");
  command->callback([options, &exit_code] { exit_code = finish(show_stats(*options)); });
}

}  // namespace kvault::tools
