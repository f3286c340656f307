#include "tools/cli/daemon_options.hpp"

#include <array>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "tools/model/sdk_result.hpp"

namespace kvault::tools {

void add_daemon_options(CLI::App& command, DaemonOptions& options) {
  command.add_option("--socket", options.socket_path, "Socket of kvaultd")->type_name("PATH");
  command.add_option("--data-dir", options.data_directory, "Data of a kvaultd that is started")
      ->type_name("DIR");
  command
      .add_option("--namespace", options.namespace_name, "Whose sessions; default: the shared one")
      ->envname("KVAULT_NAMESPACE")
      ->type_name("NAME");
  command.add_option("--token-file", options.token_file, "File with the token of the namespace")
      ->envname("KVAULT_TOKEN_FILE")
      ->type_name("PATH");
  command.add_flag("--no-auto-start", options.no_auto_start, "Fail where no kvaultd runs");
  command.add_flag("--json", options.json, "Print JSON");
}

namespace {

/// The first line. Whoever else may read the file could enter the namespace too.
Result<std::string> read_token(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::perms mode = std::filesystem::status(path, error).permissions();
  const auto of_others = std::filesystem::perms::group_all | std::filesystem::perms::others_all;
  if (!error && (mode & of_others) != std::filesystem::perms::none) {
    return fail(Errc::permission,
                message(path.native(), " can be read by others; chmod 600 makes it private"));
  }
  std::ifstream file(path);
  std::string token;
  if (error || !std::getline(file, token)) {
    return fail(Errc::not_found, message("cannot read a token from ", path.native()));
  }
  return token;
}

}  // namespace

Result<sdk::Client> connect(const DaemonOptions& options, std::uint32_t namespace_create) {
  std::string token;
  if (!options.namespace_name.empty()) {
    if (options.token_file.empty()) {
      return fail(Errc::invalid_argument, message("namespace '", options.namespace_name,
                                                  "' asks for its token: --token-file"));
    }
    KVAULT_TRY(token, read_token(options.token_file));
  }
  return from_sdk(sdk::Client::connect({.auto_start = !options.no_auto_start,
                                        .socket_path = options.socket_path,
                                        .data_directory = options.data_directory,
                                        .app_name = "kvault",
                                        .namespace_name = options.namespace_name,
                                        .namespace_token = token,
                                        .namespace_create = namespace_create}),
                  "connect");
}

std::string format_time(std::int64_t unix_s) {
  const auto time = static_cast<std::time_t>(unix_s);
  const std::tm* parts = std::gmtime(&time);
  std::array<char, 64> text{};
  if (parts == nullptr || std::strftime(text.data(), text.size(), "%F %T", parts) == 0) return "?";
  return text.data();
}

}  // namespace kvault::tools
