#include <memory>

#include "tools/cli/commands.hpp"
#include "tools/cli/daemon_options.hpp"
#include "tools/cli/report.hpp"
#include "tools/cli/session_table.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

Result<int> list_sessions(const DaemonOptions& options) {
  KVAULT_TRY(sdk::Client client, connect(options));
  KVAULT_TRY(const std::vector<kvault_session_info> sessions, from_sdk(client.list(), "sessions"));
  if (options.json) {
    auto list = nlohmann::ordered_json::array();
    for (const kvault_session_info& info : sessions) list.push_back(json_of(info));
    std::printf("%s\n", list.dump(2).c_str());
    return kExitDone;
  }
  if (sessions.empty()) {
    std::printf("no sessions yet\n");
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
  auto options = std::make_shared<DaemonOptions>();
  add_daemon_options(*command, *options);
  command->footer("Example:\n  kvault sessions --json | jq '.[].name'");
  command->callback([options, &exit_code] { exit_code = finish(list_sessions(*options)); });
}

}  // namespace kvault::tools
