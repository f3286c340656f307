#include <memory>

#include "tools/cli/commands.hpp"
#include "tools/cli/daemon_metrics.hpp"
#include "tools/cli/daemon_options.hpp"
#include "tools/cli/report.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

struct StatsOptions : DaemonOptions {
  bool prometheus = false;
};

Result<int> show_stats(const StatsOptions& options) {
  KVAULT_TRY(sdk::Client client, connect(options));
  KVAULT_TRY(const kvault_daemon_stats stats, from_sdk(client.stats(), "stats"));
  const std::vector<Metric> metrics = metrics_of(stats);
  if (options.prometheus) {
    std::printf("%s", prometheus_text(metrics).c_str());
    return kExitDone;
  }
  Report report;
  for (const Metric& metric : metrics) {
    const std::string text = metric.is_size ? format_size(metric.value) : message(metric.value);
    report.add(std::string(metric.name), metric.value, text);
  }
  report.print(options.json);
  return kExitDone;
}

}  // namespace

void add_stats_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("stats", "Show what kvaultd holds and has done");
  auto options = std::make_shared<StatsOptions>();
  add_daemon_options(*command, *options);
  command->add_flag("--prometheus", options->prometheus, "Print Prometheus' text format")
      ->excludes("--json");
  command->footer(
      "Examples:\n"
      "  kvault stats --json\n"
      "  kvault stats --prometheus > /var/lib/node_exporter/kvault.prom");
  command->callback([options, &exit_code] { exit_code = finish(show_stats(*options)); });
}

}  // namespace kvault::tools
