#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include <spdlog/logger.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <CLI/CLI.hpp>

#include "core/os/passed_socket.hpp"
#include "core/os/process.hpp"
#include "daemon/predecessor.hpp"
#include "daemon/quota.hpp"
#include "daemon/server.hpp"

namespace kvault {
namespace {

constexpr std::size_t kLogFileSizeMax = 1U << 20U;

struct Arguments {
  std::string data_directory;
  std::string socket_path;
  std::string log_level = "info";
  std::int64_t idle_exit_s = 0;
  std::optional<std::uint64_t> quota_bytes;
  bool background = false;
  bool replace = false;
};

constexpr const char* kFooter =
    "Apps that use libkvault start kvaultd by themselves; nobody has to run it by hand.\n\n"
    "Examples:\n"
    "  kvaultd                                  serve the user's own chats, stop with Ctrl-C\n"
    "  kvaultd --data-dir /mnt/fast/kvault      keep them on another disk\n"
    "  kvaultd --quota 20GB                     forget what was used longest ago above that\n"
    "  kvaultd --background --idle-exit 600     go to the background, end 10 minutes after the\n"
    "                                           last app has left\n"
    "  kvaultd --replace --background           take over from the kvaultd that runs, after an\n"
    "                                           upgrade; its clients connect anew\n\n"
    "A socket that systemd passes (LISTEN_FDS) is served instead of one of kvaultd's own.\n"
    "Exit status: 0 after an orderly end; otherwise one line on stderr and 1, or 2 where another\n"
    "kvaultd serves the data directory or the socket already.\n"
    "docs/protocol.md describes what it speaks, docs/format.md what it writes.";

/// The exit status where the program is to end here (--help, a mistake), else nothing.
std::optional<int> parse(int argc, char** argv, Arguments& arguments) {
  CLI::App app("kvaultd keeps the memory of language models for the apps of one user.", "kvaultd");
  app.footer(kFooter);
  app.set_version_flag("--version", std::string("kvaultd ") + KVAULT_VERSION_STRING);
  app.option_defaults()->take_last();
  app.add_option("--data-dir", arguments.data_directory,
                 "Where sessions are kept (default: $KVAULT_DATA_DIR, $XDG_DATA_HOME/kvault or "
                 "~/.local/share/kvault)");
  app.add_option("--socket", arguments.socket_path,
                 "Socket to listen at (default: kvaultd.sock in $KVAULT_RUNTIME_DIR, "
                 "$XDG_RUNTIME_DIR/kvault or /tmp/kvault-<uid>; another name for another data "
                 "directory)");
  app.add_option("--log-level", arguments.log_level, "debug, info, warn or error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
      ->capture_default_str();
  app.add_option("--idle-exit", arguments.idle_exit_s,
                 "End after so many seconds without a client; 0: never")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 31))
      ->capture_default_str();
  app.add_option("--quota", arguments.quota_bytes,
                 "What all files together may take, as in 500MB or 20GB; 0: no limit (default: "
                 "$KVAULT_QUOTA, or half of what is free, at most 64GB)")
      ->envname("KVAULT_QUOTA")
      ->transform(CLI::AsSizeValue(false));
  app.add_flag("--background", arguments.background,
               "Return once kvaultd serves; log to kvaultd.log in the data directory");
  app.add_flag("--replace", arguments.replace,
               "Ask the kvaultd at the socket to finish and end, and take its place");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 1;
  }
  return std::nullopt;
}

/// A passed socket lies where it lies; --socket may only say the same.
Result<> adopt(std::optional<PassedSocket>& passed, const Arguments& arguments,
               ServerOptions& options) {
  if (!arguments.socket_path.empty() && options.socket_path != passed->path) {
    return fail(Errc::invalid_argument,
                message("the socket passed to kvaultd is ", passed->path.native(),
                        ", --socket says ", options.socket_path.native()));
  }
  options.socket_path = passed->path;
  options.passed_socket = std::move(passed->socket);
  return {};
}

Result<ServerOptions> options_from(const Arguments& arguments, std::optional<PassedSocket> passed) {
  ServerOptions options;
  std::error_code error;
  if (arguments.data_directory.empty()) {
    KVAULT_TRY(options.data_directory, default_data_directory());
  } else {
    options.data_directory = std::filesystem::absolute(arguments.data_directory, error);
  }
  options.data_directory = options.data_directory.lexically_normal();
  if (arguments.socket_path.empty()) {
    KVAULT_TRY(options.socket_path, default_socket_path(options.data_directory));
  } else if (!error) {
    options.socket_path = std::filesystem::absolute(arguments.socket_path, error);
  }
  if (error) return fail(Errc::io, message("no working directory: ", error.message()));
  options.socket_path = options.socket_path.lexically_normal();
  if (passed) KVAULT_CHECK(adopt(passed, arguments, options));
  options.idle_exit = std::chrono::seconds(arguments.idle_exit_s);
  options.quota_bytes = arguments.quota_bytes.value_or(default_quota_bytes(options.data_directory));
  return options;
}

/// Never holds chat content or tokens: names of apps, paths, numbers and errors only.
Result<std::shared_ptr<spdlog::logger>> make_logger(const Arguments& arguments,
                                                    const ServerOptions& options) try {
  spdlog::sink_ptr sink;
  if (arguments.background) {
    KVAULT_CHECK(make_private_directory(options.data_directory));
    const std::string path = (options.data_directory / "kvaultd.log").native();
    sink = std::make_shared<spdlog::sinks::rotating_file_sink_mt>(path, kLogFileSizeMax, 1);
  } else {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  }
  auto logger = std::make_shared<spdlog::logger>("kvaultd", std::move(sink));
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  logger->set_level(spdlog::level::from_str(arguments.log_level));
  logger->flush_on(spdlog::level::info);
  return logger;
} catch (const spdlog::spdlog_ex& error) {
  return fail(Errc::io, message("cannot open the log: ", error.what()));
}

Result<> serve(const Arguments& arguments, std::optional<PassedSocket> passed,
               Background* background) {
  KVAULT_TRY(ServerOptions options, options_from(arguments, std::move(passed)));
  KVAULT_TRY(const std::shared_ptr<spdlog::logger> log, make_logger(arguments, options));
  if (arguments.replace) {
    KVAULT_CHECK(end_predecessor(options.data_directory, options.socket_path));
  }
  KVAULT_TRY(const std::unique_ptr<Server> server, Server::create(std::move(options), *log));
  if (background != nullptr) background->report_ready();
  server->run();
  return {};
}

int run(const Arguments& arguments) {
  // A client that goes away is an error of write(), not the daemon's end.
  std::signal(SIGPIPE, SIG_IGN);
  // Passed to this process, not to the one that goes on in the background.
  Result<std::optional<PassedSocket>> passed = take_passed_socket();
  if (!passed) {
    std::fprintf(stderr, "kvaultd: %s\n", passed.error().message.c_str());
    return 1;
  }
  std::optional<Background> background;
  if (arguments.background) {
    Result<Background> entered = Background::enter();
    if (!entered) {
      std::fprintf(stderr, "kvaultd: %s\n", entered.error().message.c_str());
      return 1;
    }
    background.emplace(std::move(*entered));
  }
  const Result<> served = serve(arguments, std::move(*passed), background ? &*background : nullptr);
  if (served) return 0;
  const std::string why = message("kvaultd: ", served.error().message);
  const int status = served.error().code == Errc::busy ? 2 : 1;
  if (background) {
    background->report_failure(status, why);
  } else {
    std::fprintf(stderr, "%s\n", why.c_str());
  }
  return status;
}

}  // namespace
}  // namespace kvault

int main(int argc, char** argv) try {
  kvault::Arguments arguments;
  if (const std::optional<int> status = kvault::parse(argc, argv, arguments)) return *status;
  return kvault::run(arguments);
} catch (const std::exception& exception) {
  std::fprintf(stderr, "kvaultd: %s\n", exception.what());
  return 1;
}
