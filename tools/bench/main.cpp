#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>

#include "tools/bench/bench_command.hpp"
#include "tools/bench/run_facts.hpp"
#include "tools/cli/report.hpp"

namespace {

/// One line on stderr, whatever went wrong.
int refuse(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::fprintf(stderr, "kvault-bench: %s\n", text.c_str());
  return kvault::tools::kExitRefused;
}

int run(int argc, char** argv) {
  using namespace kvault::tools;
  CLI::App app("kvault-bench: how fast kvault attends, encodes and reconstructs", "kvault-bench");
  app.set_version_flag("--version", "kvault-bench " KVAULT_VERSION_STRING);
  BenchFlags flags;
  flags.report.command = command_of(argc, argv);
  add_bench_options(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    return refuse(std::string(error.what()) + " (kvault-bench --help shows how)");
  }
  const kvault::Result<int> outcome = run_bench_command(flags);
  if (outcome) return *outcome;
  return refuse(std::string(name_of(outcome.error().code)) + ": " + outcome.error().message);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& exception) {
    return refuse(exception.what());
  }
}
