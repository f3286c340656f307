#include <memory>
#include <optional>

#include "tools/cli/commands.hpp"
#include "tools/cli/daemon_options.hpp"
#include "tools/cli/progress_bar.hpp"
#include "tools/cli/report.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

struct ImportOptions : DaemonOptions {
  std::string path;
  std::optional<std::string> name;
};

Result<kvault_session_info> import_with_bar(sdk::Client& client, const ImportOptions& options) {
  std::unique_ptr<ProgressBar> bar;
  const auto progress = [&](std::uint64_t done_bytes, std::uint64_t total_bytes) {
    if (!bar) bar = std::make_unique<ProgressBar>("import", total_bytes, !options.json);
    bar->show(done_bytes);
    return true;
  };
  return from_sdk(client.import_session(options.path, options.name, progress), "import");
}

Result<int> import_session(const ImportOptions& options) {
  KVAULT_TRY(sdk::Client client, connect(options));
  KVAULT_TRY(const kvault_session_info info, import_with_bar(client, options));
  Report report;
  report.add("name", std::string(info.name));
  report.add("id", std::string(info.id));
  report.add("n_token", info.n_token);
  report.add("stored_size_bytes", info.stored_size_bytes, format_size(info.stored_size_bytes));
  report.print(options.json);
  return kExitDone;
}

}  // namespace

void add_import_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("import", "Make a session of an exported file");
  auto options = std::make_shared<ImportOptions>();
  command->add_option("file", options->path, "File of `kvault export`")->required();
  command->add_option("--name", options->name, "Name of the session (default: the one it had)")
      ->type_name("NAME");
  add_daemon_options(*command, *options);
  command->footer(
      "The whole file is checked before anything is stored. A name in use is refused.\n"
      "Example:\n  kvault import chat-17.kvx --name \"chat 17 of the laptop\"");
  command->callback([options, &exit_code] { exit_code = finish(import_session(*options)); });
}

}  // namespace kvault::tools
