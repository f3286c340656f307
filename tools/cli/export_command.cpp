#include <filesystem>
#include <memory>

#include "tools/cli/commands.hpp"
#include "tools/cli/daemon_options.hpp"
#include "tools/cli/progress_bar.hpp"
#include "tools/cli/report.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

struct ExportOptions : DaemonOptions {
  std::string session;
  std::string path;
};

Result<int> export_session(const ExportOptions& options) {
  KVAULT_TRY(sdk::Client client, connect(options));
  {
    std::unique_ptr<ProgressBar> bar;
    const auto progress = [&](std::uint64_t done_bytes, std::uint64_t total_bytes) {
      if (!bar) bar = std::make_unique<ProgressBar>("export", total_bytes, !options.json);
      bar->show(done_bytes);
      return true;
    };
    KVAULT_CHECK(
        from_sdk(client.export_session(options.session, options.path, progress), "export"));
  }
  std::error_code error;
  const std::uintmax_t size_bytes = std::filesystem::file_size(options.path, error);
  Report report;
  report.add("session", options.session);
  report.add("file", options.path);
  if (!error) report.add("size_bytes", size_bytes, format_size(size_bytes));
  report.print(options.json);
  return kExitDone;
}

}  // namespace

void add_export_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("export", "Write a session to one file");
  auto options = std::make_shared<ExportOptions>();
  command->add_option("session", options->session, "Name or id of a session")->required();
  command->add_option("file", options->path, "File to write; must not exist yet")->required();
  add_daemon_options(*command, *options);
  command->footer(
      "Every byte is checked before it is written, and the file appears once it is whole. It "
      "holds\n"
      "the chat's token ids and memory, not encrypted. `kvault import` reads it, on any machine.\n"
      "Example:\n  kvault export chat-17 chat-17.kvx");
  command->callback([options, &exit_code] { exit_code = finish(export_session(*options)); });
}

}  // namespace kvault::tools
