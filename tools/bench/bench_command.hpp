#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "tools/bench/bench_options.hpp"
#include "tools/bench/daemon/daemon_bench.hpp"
#include "tools/bench/report_command.hpp"

namespace kvault::tools {

/// The command line of kvault-bench as written, before bench_options.hpp checks it.
struct BenchFlags {
  BenchOptions options;
  std::vector<std::string> ops = {"decode"};
  bool has_json = false;
  std::string json_path;  ///< empty: standard output
  std::string svg_path;
  std::string calibration_path;             ///< empty: none is asked for
  std::vector<std::string> compared_paths;  ///< none or two
  ReportFlags report;
  DaemonFlags daemon;
};

void add_bench_options(CLI::App& app, BenchFlags& flags);

/// Measures or compares, and writes the answer; returns the exit code.
Result<int> run_bench_command(BenchFlags& flags);

}  // namespace kvault::tools
