#include <memory>

#include "tools/cli/commands.hpp"
#include "tools/cli/daemon_options.hpp"
#include "tools/cli/report.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

struct RemoveOptions : DaemonOptions {
  std::vector<std::string> names;
  bool destroy = false;
};

Result<int> remove_sessions(const RemoveOptions& options) {
  KVAULT_TRY(sdk::Client client, connect(options));
  for (const std::string& name : options.names) {
    KVAULT_CHECK(from_sdk(options.destroy ? client.destroy(name) : client.remove(name),
                          message("rm ", name)));
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
  command->add_flag("--destroy", options->destroy,
                    "Destroy their keys too: encrypted namespaces only");
  add_daemon_options(*command, *options);
  command->footer(
      "Examples:\n"
      "  kvault rm chat-17 chat-18\n"
      "  kvault rm --destroy diary --namespace my-app --token-file ~/.config/my-app/token");
  command->callback([options, &exit_code] { exit_code = finish(remove_sessions(*options)); });
}

}  // namespace kvault::tools
