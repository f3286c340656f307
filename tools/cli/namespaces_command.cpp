#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <utility>

#include "core/os/new_file.hpp"
#include "tools/cli/commands.hpp"
#include "tools/cli/daemon_options.hpp"
#include "tools/cli/report.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

struct NamespacesOptions : DaemonOptions {
  std::string new_name;
  bool encrypt = false;
  std::string removed_name;
  bool yes = false;
};

/// A file that only the user may read, with a token that nobody has seen.
Result<> write_new_token(const std::string& path) {
  KVAULT_TRY(std::string token, from_sdk(sdk::new_token(), "token"));
  token += '\n';
  KVAULT_TRY(NewFile file, NewFile::create(path));
  KVAULT_CHECK(file.file().pwrite_all(0, std::as_bytes(std::span(token.data(), token.size()))));
  return file.publish();
}

Result<int> create_namespace(NamespacesOptions options) {
  if (options.token_file.empty()) {
    return fail(Errc::invalid_argument, "--token-file says where to keep the new token");
  }
  std::error_code ignored;
  const bool has_token = std::filesystem::exists(options.token_file, ignored);
  if (!has_token) KVAULT_CHECK(write_new_token(options.token_file));
  options.namespace_name = options.new_name;
  Result<sdk::Client> connected = connect(options, options.encrypt ? 2 : 1);
  if (!connected && connected.error().code == Errc::permission && !has_token) {
    std::filesystem::remove(options.token_file, ignored);  // it opens nothing
    return fail(Errc::already_exists,
                message("namespace '", options.new_name, "' exists, and has another token"));
  }
  KVAULT_TRY(const sdk::Client client, std::move(connected));
  Report report;
  report.add("namespace", options.new_name, options.new_name);
  report.add("is_encrypted", client.is_encrypted(), client.is_encrypted() ? "yes" : "no");
  report.add("token_file", options.token_file,
             options.token_file + (client.is_encrypted() ? ": the only key, keep it safe" : ""));
  report.print(options.json);
  return kExitDone;
}

/// Whether whoever sits at the terminal says so; who says nothing says no.
bool is_confirmed(const std::string& question) {
  std::cerr << question << " [y/N] " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "yes";
}

Result<int> remove_namespace(NamespacesOptions options) {
  options.namespace_name = options.removed_name;
  KVAULT_TRY(sdk::Client client, connect(options));
  KVAULT_TRY(const auto sessions, from_sdk(client.list(), "sessions"));
  const std::string question = message("Remove namespace '", options.removed_name, "' and its ",
                                       sessions.size(), " sessions for good?");
  if (!options.yes && !is_confirmed(question)) {
    return fail(Errc::cancelled, message("namespace '", options.removed_name,
                                         "' stays; --yes removes without asking"));
  }
  const bool is_encrypted = client.is_encrypted();
  KVAULT_CHECK(from_sdk(client.remove_namespace(), message("remove ", options.removed_name)));
  Report report;
  report.add("removed", options.removed_name, options.removed_name);
  report.add("n_session", sessions.size(), std::to_string(sessions.size()));
  report.add("keys_destroyed", is_encrypted, is_encrypted ? "yes" : "it had none");
  report.print(options.json);
  return kExitDone;
}

Result<int> list_namespaces(const NamespacesOptions& options) {
  KVAULT_TRY(sdk::Client client, connect(options));
  KVAULT_TRY(const auto infos, from_sdk(client.namespaces(), "namespaces"));
  Report report;
  for (const kvault_namespace_info& info : infos) {
    const std::string name = info.name[0] == '\0' ? "(shared)" : info.name;
    report.add(name, nlohmann::json{{"size_bytes", info.size_bytes}, {"n_client", info.n_client}},
               message(format_size(info.size_bytes), ", ", info.n_client, " clients"));
  }
  report.print(options.json);
  return kExitDone;
}

}  // namespace

void add_namespaces_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("namespaces", "List namespaces, make or remove one");
  auto options = std::make_shared<NamespacesOptions>();
  add_daemon_options(*command, *options);
  CLI::Option* name =
      command->add_option("--new", options->new_name,
                          "Make this one; --token-file gets a new token where it is missing");
  name->type_name("NAME");
  command->add_flag("--encrypt", options->encrypt, "Encrypt what the new one keeps")->needs(name);
  CLI::Option* removed =
      command->add_option("--remove", options->removed_name,
                          "Remove this one with all its sessions, and destroy its keys");
  removed->type_name("NAME")->excludes(name);
  command->add_flag("--yes", options->yes, "Remove it without asking")->needs(removed);
  command->footer(
      "An app that uses a namespace of its own shows its sessions to who has the token, and to\n"
      "nobody else. docs/security.md says what that protects from, and what it does not.\n\n"
      "Examples:\n"
      "  kvault namespaces\n"
      "  kvault namespaces --new my-app --encrypt --token-file ~/.config/my-app/token\n"
      "  kvault namespaces --remove my-app --token-file ~/.config/my-app/token\n"
      "  kvault sessions --namespace my-app --token-file ~/.config/my-app/token");
  command->callback([options, &exit_code] {
    if (!options->removed_name.empty()) {
      exit_code = finish(remove_namespace(*options));
    } else {
      exit_code = finish(options->new_name.empty() ? list_namespaces(*options)
                                                   : create_namespace(*options));
    }
  });
}

}  // namespace kvault::tools
