#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "tools/bench/bench_options.hpp"
#include "tools/bench/report_plan.hpp"

namespace kvault::tools {

/// --report and what goes with it, as written.
struct ReportFlags {
  std::string target;  ///< empty: no report is asked for
  std::string note;
  std::string command;  ///< the command line itself, for the page
  bool is_quick = false;
  double time_limit_s = 0;  ///< 0: the scale's

  ReportScale scale() const;
};

/// Options that have no say in a report are refused beside it.
void add_report_options(CLI::App& app, ReportFlags& flags);

/// Measures and writes the report; returns the exit code.
Result<int> run_report(const ReportFlags& flags, const BenchOptions& options);

}  // namespace kvault::tools
