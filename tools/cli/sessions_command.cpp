#include <algorithm>
#include <memory>
#include <string_view>

#include "tools/cli/commands.hpp"
#include "tools/cli/daemon_options.hpp"
#include "tools/cli/report.hpp"
#include "tools/cli/session_table.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

struct SessionsOptions : DaemonOptions {
  std::string text;
  std::vector<std::string> labels;
};

/// Whether a session is asked for: its name holds the text, and it has all the labels.
bool is_wanted(const SessionsOptions& options, const kvault_session_info& info) {
  const std::vector<std::string> labels = labels_of(info);
  const auto has = [&](const std::string& label) {
    return std::find(labels.begin(), labels.end(), label) != labels.end();
  };
  return std::string_view(info.name).find(options.text) != std::string_view::npos &&
         std::all_of(options.labels.begin(), options.labels.end(), has);
}

Result<int> list_sessions(const SessionsOptions& options) {
  KVAULT_TRY(sdk::Client client, connect(options));
  KVAULT_TRY(std::vector<kvault_session_info> sessions, from_sdk(client.list(), "sessions"));
  std::erase_if(sessions, [&](const auto& info) { return !is_wanted(options, info); });
  if (options.json) {
    auto list = nlohmann::ordered_json::array();
    for (const kvault_session_info& info : sessions) list.push_back(json_of(info));
    std::printf("%s\n", list.dump(2).c_str());
    return kExitDone;
  }
  if (sessions.empty()) {
    const bool is_search = !options.text.empty() || !options.labels.empty();
    std::printf(is_search ? "no such session\n" : "no sessions yet\n");
    return kExitDone;
  }
  std::vector<std::vector<std::string>> rows = {session_heading()};
  for (const kvault_session_info& info : sessions) rows.push_back(cells_of(info));
  print_columns(rows);
  return kExitDone;
}

}  // namespace

void add_sessions_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("sessions", "List what kvaultd keeps");
  auto options = std::make_shared<SessionsOptions>();
  command->add_option("text", options->text, "Only sessions with this in their names");
  command->add_option("--label", options->labels, "Only sessions that have these labels");
  add_daemon_options(*command, *options);
  command->footer(
      "Examples:\n"
      "  kvault sessions rome --label travel\n"
      "  kvault sessions --json | jq '.[].name'");
  command->callback([options, &exit_code] { exit_code = finish(list_sessions(*options)); });
}

}  // namespace kvault::tools
