#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>

#include "kvault/kvault.hpp"
#include "tools/cli/commands.hpp"
#include "tools/cli/report.hpp"
#include "tools/demo/demo_command.hpp"
#include "tools/eval/eval_command.hpp"
#include "tools/model/run_command.hpp"

namespace {

/// One line, whatever CLI11 says.
std::string describe_failure(const CLI::App*, const CLI::Error& error) {
  std::string line = error.what();
  std::replace(line.begin(), line.end(), '\n', ' ');
  return "kvault: " + line + " (kvault --help shows how)\n";
}

int run(int argc, char** argv) {
  using namespace kvault::tools;
  CLI::App app("kvault: the compressed, lasting memory of local language models", "kvault");
  app.set_version_flag("--version", "kvault " + std::string(kvault::sdk::version()));
  app.failure_message(describe_failure);
  app.footer(
      "Exit status: 0 done, 1 done but the answer is bad, 2 not done.\n"
      "kvault COMMAND --help shows a command's options and examples.");
  int exit_code = kExitDone;
  add_demo_command(app, exit_code);
  add_run_command(app, exit_code);
  add_eval_command(app, exit_code);
  add_attend_command(app, exit_code);
  add_roundtrip_command(app, exit_code);
  add_sessions_command(app, exit_code);
  add_show_command(app, exit_code);
  add_remove_command(app, exit_code);
  add_namespaces_command(app, exit_code);
  add_fork_command(app, exit_code);
  add_export_command(app, exit_code);
  add_import_command(app, exit_code);
  add_set_command(app, exit_code);
  add_verify_command(app, exit_code);
  add_stats_command(app, exit_code);
  add_top_command(app, exit_code);
  add_devices_command(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitRefused;
  }
  if (app.get_subcommands().empty()) {
    std::fprintf(stderr, "kvault: a command is missing (kvault --help shows how)\n");
    return kExitRefused;
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& exception) {
    std::fprintf(stderr, "kvault: %s\n", exception.what());
    return kvault::tools::kExitRefused;
  }
}
