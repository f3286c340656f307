#include <algorithm>
#include <memory>

#include "tools/cli/commands.hpp"
#include "tools/cli/daemon_options.hpp"
#include "tools/cli/report.hpp"
#include "tools/cli/session_table.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

struct ShowOptions : DaemonOptions {
  std::string name;
};

Result<int> show_session(const ShowOptions& options) {
  KVAULT_TRY(sdk::Client client, connect(options));
  KVAULT_TRY(const std::vector<kvault_session_info> sessions, from_sdk(client.list(), "show"));
  const auto found = std::find_if(sessions.begin(), sessions.end(), [&](const auto& info) {
    return options.name == info.name || options.name == info.id;
  });
  if (found == sessions.end()) {
    return fail(Errc::not_found,
                message("no session is called '", options.name, "'; there are ", sessions.size()));
  }
  const double per_token = found->n_token == 0 ? 0
                                               : static_cast<double>(found->stored_size_bytes) /
                                                     static_cast<double>(found->n_token);
  Report report;
  report.add("name", found->name);
  report.add("id", found->id);
  report.add("n_token", found->n_token);
  report.add("n_page", found->n_page);
  report.add("commit_number", found->commit_number);
  report.add("stored_size_bytes", found->stored_size_bytes, format_size(found->stored_size_bytes));
  report.add("stored_bytes_per_token", per_token, format_number("%.0f", per_token));
  report.add("last_used_unix_s", found->last_used_unix_s,
             format_time(found->last_used_unix_s) + " UTC");
  report.add("is_pinned", found->is_pinned != 0, found->is_pinned != 0 ? "yes" : "no");
  report.add("expires_unix_s", found->expires_unix_s,
             found->expires_unix_s == 0 ? "never" : format_time(found->expires_unix_s) + " UTC");
  std::string labels;
  for (const std::string& label : labels_of(*found)) labels += (labels.empty() ? "" : ", ") + label;
  report.add("labels", labels_of(*found), labels);
  if (found->forked_from[0] != 0) {
    report.add("forked_from", found->forked_from);
    report.add("forked_at_token", found->forked_at_token);
  }
  report.print(options.json);
  return kExitDone;
}

}  // namespace

void add_show_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("show", "Show one session");
  auto options = std::make_shared<ShowOptions>();
  command->add_option("name", options->name, "Name or id of the session")->required();
  add_daemon_options(*command, *options);
  command->footer("Example:\n  kvault show chat-17");
  command->callback([options, &exit_code] { exit_code = finish(show_session(*options)); });
}

}  // namespace kvault::tools
