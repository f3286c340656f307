#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>

#include "tools/cli/commands.hpp"
#include "tools/cli/daemon_metrics.hpp"
#include "tools/cli/daemon_options.hpp"
#include "tools/cli/progress_bar.hpp"
#include "tools/cli/report.hpp"
#include "tools/cli/session_table.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

struct TopOptions : DaemonOptions {
  double interval_s = 2;
  std::uint32_t n_round = 0;
  std::uint32_t n_row = 15;
};

/// "1.2 MB/s" of a number that only grows.
std::string rate_of(std::uint64_t now, std::uint64_t before, double seconds) {
  if (seconds <= 0 || now < before) return "-";
  return format_size(static_cast<std::uint64_t>(static_cast<double>(now - before) / seconds)) +
         "/s";
}

void print_head(const kvault_daemon_stats& now, const kvault_daemon_stats& before, double seconds) {
  const std::string quota = now.quota_bytes == 0 ? "no quota" : format_size(now.quota_bytes);
  std::printf("kvaultd: %u sessions, %u clients, %s of %s on disk, %s live\n", now.n_session,
              now.n_connection, format_size(now.disk_size_bytes).c_str(), quota.c_str(),
              format_size(now.live_size_bytes).c_str());
  std::printf("written %s, moved %s, %llu saves, %llu evicted, %llu damaged, queue %llu\n\n",
              rate_of(now.written_size_bytes, before.written_size_bytes, seconds).c_str(),
              rate_of(now.moved_size_bytes, before.moved_size_bytes, seconds).c_str(),
              static_cast<unsigned long long>(now.n_commit),
              static_cast<unsigned long long>(now.n_evicted),
              static_cast<unsigned long long>(now.n_damage),
              static_cast<unsigned long long>(now.n_queued_task));
}

void print_sessions(std::vector<kvault_session_info> sessions, std::uint32_t n_row) {
  std::sort(sessions.begin(), sessions.end(),
            [](const auto& a, const auto& b) { return a.last_used_unix_s > b.last_used_unix_s; });
  if (sessions.size() > n_row) sessions.resize(n_row);
  std::vector<std::vector<std::string>> rows = {session_heading()};
  for (const kvault_session_info& info : sessions) rows.push_back(cells_of(info));
  print_columns(rows);
}

Result<int> watch(const TopOptions& options) {
  KVAULT_TRY(sdk::Client client, connect(options));
  const bool is_screen = is_terminal(1);
  const std::uint32_t n_round = options.n_round == 0 && !is_screen ? 1 : options.n_round;
  kvault_daemon_stats before{};
  for (std::uint32_t round = 0; n_round == 0 || round < n_round; ++round) {
    if (round > 0) {
      std::this_thread::sleep_for(std::chrono::duration<double>(options.interval_s));
    }
    KVAULT_TRY(const kvault_daemon_stats now, from_sdk(client.stats(), "top"));
    KVAULT_TRY(std::vector<kvault_session_info> sessions, from_sdk(client.list(), "top"));
    if (is_screen) std::printf("\033[H\033[2J");
    print_head(now, before, round == 0 ? 0 : options.interval_s);
    print_sessions(std::move(sessions), options.n_row);
    std::fflush(stdout);
    before = now;
  }
  return kExitDone;
}

}  // namespace

void add_top_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("top", "Watch kvaultd at work, until Ctrl-C");
  auto options = std::make_shared<TopOptions>();
  add_daemon_options(*command, *options);
  command->remove_option(command->get_option("--json"));
  command->add_option("--interval", options->interval_s, "Seconds between two looks")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  command->add_option("--rounds", options->n_round,
                      "End after so many looks (default: never; 1 where no terminal is)");
  command->add_option("--rows", options->n_row, "Sessions shown, the last used first")
      ->capture_default_str();
  command->footer("Example:\n  kvault top --interval 1");
  command->callback([options, &exit_code] { exit_code = finish(watch(*options)); });
}

}  // namespace kvault::tools
