#include <memory>
#include <optional>

#include "tools/cli/commands.hpp"
#include "tools/cli/daemon_options.hpp"
#include "tools/cli/report.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

struct ForkOptions : DaemonOptions {
  std::string source;
  std::string name;
  std::uint64_t n_token = UINT64_MAX;
};

Result<int> fork_session(const ForkOptions& options) {
  KVAULT_TRY(sdk::Client client, connect(options));
  KVAULT_TRY(const kvault_kept kept,
             from_sdk(client.fork(options.source, options.name, options.n_token), "fork"));
  Report report;
  report.add("name", options.name);
  report.add("forked_from", options.source);
  report.add("n_token", kept.n_token);
  report.add("exact", kept.exact != 0,
             kept.exact != 0 ? "yes" : "no: the page before is coded for the next 128 tokens");
  report.print(options.json);
  return kExitDone;
}

}  // namespace

void add_fork_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("fork", "Begin a session where another stands");
  auto options = std::make_shared<ForkOptions>();
  command->add_option("source", options->source, "Name or id of a session")->required();
  command->add_option("name", options->name, "Name of the new session")->required();
  command->add_option("--at", options->n_token, "Keep so many tokens at most (default: all)");
  add_daemon_options(*command, *options);
  command->footer(
      "Nothing is copied: both name the same pages. A fork begins at the newest position at or\n"
      "before --at that every layer can go on from; the answer says which.\n"
      "Example:\n  kvault fork chat-17 chat-17b --at 2048");
  command->callback([options, &exit_code] { exit_code = finish(fork_session(*options)); });
}

}  // namespace kvault::tools
