#include <chrono>
#include <memory>
#include <optional>

#include "tools/cli/commands.hpp"
#include "tools/cli/daemon_options.hpp"
#include "tools/cli/report.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

struct SetOptions : DaemonOptions {
  std::string session;
  std::string name;
  std::vector<std::string> labels;
  bool clear_labels = false;
  bool pin = false;
  bool unpin = false;
  std::optional<std::uint64_t> ttl_s;
  bool keep_for_ever = false;
};

std::int64_t unix_seconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

Result<int> set_session(const SetOptions& options) {
  const bool has_change = !options.name.empty() || !options.labels.empty() ||
                          options.clear_labels || options.pin || options.unpin || options.ttl_s ||
                          options.keep_for_ever;
  if (!has_change) {
    return fail(Errc::invalid_argument, "set needs something to change, say --pin or --name");
  }
  std::vector<const char*> labels;
  for (const std::string& label : options.labels) labels.push_back(label.c_str());
  kvault_session_update update = KVAULT_SESSION_UPDATE_INIT;
  if (!options.name.empty()) update.name = options.name.c_str();
  update.n_label = static_cast<std::uint32_t>(labels.size());
  update.labels = labels.data();
  update.clear_labels = options.clear_labels ? 1 : 0;
  update.pin = options.pin ? 1 : options.unpin ? -1 : 0;
  if (options.ttl_s) {
    update.expires_unix_s = unix_seconds() + static_cast<std::int64_t>(*options.ttl_s);
  }
  if (options.keep_for_ever) update.expires_unix_s = -1;
  KVAULT_TRY(sdk::Client client, connect(options));
  KVAULT_CHECK(from_sdk(client.update(options.session, update), message("set ", options.session)));
  Report report;
  report.add("changed", options.name.empty() ? options.session : options.name);
  report.print(options.json);
  return kExitDone;
}

}  // namespace

void add_set_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("set", "Rename, label or pin a session, let it expire");
  auto options = std::make_shared<SetOptions>();
  command->add_option("session", options->session, "Name or id of the session")->required();
  command->add_option("--name", options->name, "A new name");
  CLI::Option* label = command->add_option("--label", options->labels, "Labels, in place of all");
  command->add_flag("--clear-labels", options->clear_labels, "No labels")->excludes(label);
  CLI::Option* pin = command->add_flag("--pin", options->pin, "Never evict it for the quota");
  command->add_flag("--unpin", options->unpin, "It may be evicted")->excludes(pin);
  CLI::Option* ttl = command->add_option("--ttl", options->ttl_s, "Remove it after this long: 30d");
  ttl->transform(CLI::AsNumberWithUnit(
      std::map<std::string, std::uint64_t>{
          {"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}, {"w", 604800}},
      CLI::AsNumberWithUnit::UNIT_OPTIONAL, "DURATION"));
  command->add_flag("--no-ttl", options->keep_for_ever, "Keep it for ever")->excludes(ttl);
  add_daemon_options(*command, *options);
  command->footer(
      "Examples:\n"
      "  kvault set chat-17 --name \"trip to Rome\" --label travel --pin\n"
      "  kvault set chat-18 --ttl 30d");
  command->callback([options, &exit_code] { exit_code = finish(set_session(*options)); });
}

}  // namespace kvault::tools
