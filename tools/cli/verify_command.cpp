#include <memory>
#include <optional>

#include "tools/cli/commands.hpp"
#include "tools/cli/daemon_options.hpp"
#include "tools/cli/report.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

struct VerifyOptions : DaemonOptions {
  std::optional<std::string> name;
  bool repair = false;
};

Result<int> verify_sessions(const VerifyOptions& options) {
  KVAULT_TRY(sdk::Client client, connect(options));
  KVAULT_TRY(const kvault_verify_report verified,
             from_sdk(options.repair ? client.repair(*options.name) : client.verify(options.name),
                      "verify"));
  Report report;
  report.add("session", options.name.value_or("all"));
  report.add("n_record", verified.n_record);
  report.add("size_bytes", verified.size_bytes, format_size(verified.size_bytes));
  report.add("n_damaged", verified.n_damaged,
             verified.n_damaged == 0 ? "0, all is well" : message(verified.n_damaged, " records"));
  report.print(options.json);
  return verified.n_damaged == 0 ? kExitDone : kExitBad;
}

}  // namespace

void add_verify_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("verify", "Read every stored byte and check it");
  auto options = std::make_shared<VerifyOptions>();
  CLI::Option* name =
      command->add_option("name", options->name, "Name or id of one session; all where left out");
  command
      ->add_flag("--repair", options->repair,
                 "Take the session back to the newest position before the damage")
      ->needs(name);
  add_daemon_options(*command, *options);
  command->footer(
      "Exit status 1: damage was found.\nExamples:\n  kvault verify chat-17\n"
      "  kvault verify chat-17 --repair");
  command->callback([options, &exit_code] { exit_code = finish(verify_sessions(*options)); });
}

}  // namespace kvault::tools
