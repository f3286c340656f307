#include <memory>

#include "tools/cli/commands.hpp"
#include "tools/cli/daemon_options.hpp"
#include "tools/cli/report.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

struct RemoveOptions : DaemonOptions {
  std::vector<std::string> names;
};

Result<int> remove_sessions(const RemoveOptions& options) {
  KVAULT_TRY(sdk::Client client, connect(options));
  for (const std::string& name : options.names) {
    KVAULT_CHECK(from_sdk(client.remove(name), message("rm ", name)));
  }
  Report report;
  report.add("removed", options.names, message(options.names.size(), " sessions"));
  report.print(options.json);
  return kExitDone;
}

}  // namespace

void add_remove_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("rm", "Delete sessions");
  auto options = std::make_shared<RemoveOptions>();
  command->add_option("name", options->names, "Names or ids of sessions")->required();
  add_daemon_options(*command, *options);
  command->footer("Example:\n  kvault rm chat-17 chat-18");
  command->callback([options, &exit_code] { exit_code = finish(remove_sessions(*options)); });
}

}  // namespace kvault::tools
