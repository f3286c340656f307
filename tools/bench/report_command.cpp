#include "tools/bench/report_command.hpp"

#include <cstdio>

#include "tools/bench/bench_device.hpp"
#include "tools/bench/device_report.hpp"
#include "tools/bench/run_facts.hpp"
#include "tools/cli/report.hpp"

namespace kvault::tools {
namespace {

/// What the plan decides, or what is another kind of answer.
constexpr const char* kNoSayInReports[] = {
    "--op",         "--n-token", "--n-head",    "--n-kv-head",   "--head-dim", "--n-q",
    "--n-sequence", "--preset",  "--set-bytes", "--repetitions", "--min-time", "--json",
    "--svg",        "--compare", "--calibrate", "--peer"};

}  // namespace

ReportScale ReportFlags::scale() const {
  ReportScale scale = is_quick ? ReportScale::quick() : ReportScale();
  if (time_limit_s > 0) scale.time_limit_s = time_limit_s;
  return scale;
}

void add_report_options(CLI::App& app, ReportFlags& flags) {
  CLI::Option* const report =
      app.add_option("--report", flags.target,
                     "Measure one device by a fixed plan and write the page, into a folder under "
                     "the name of the device or as FILE.md, with figures and a drawing beside it")
          ->type_name("FOLDER|FILE.md");
  // Not by CLI11's excludes(): the help would say so at every one of them.
  app.parse_complete_callback([&app] {
    if (app.count("--report") == 0) return;
    for (const char* name : kNoSayInReports) {
      if (app.count(name) > 0) throw CLI::ExcludesError("--report", name);
    }
  });
  app.add_flag("--quick", flags.is_quick, "A report of short contexts, for slow devices")
      ->needs(report);
  app.add_option("--time-limit", flags.time_limit_s,
                 "Seconds a report may take; what does not fit is named (480, with --quick 120)")
      ->type_name("S")
      ->check(CLI::Range(1.0, 86400.0))
      ->needs(report);
  app.add_option("--note", flags.note, "A sentence for the head of a report")
      ->type_name("TEXT")
      ->needs(report);
}

Result<int> run_report(const ReportFlags& flags, const BenchOptions& options) {
  KVAULT_TRY(const std::vector<BenchDevice> devices, open_bench_devices(options));
  if (devices.size() > 1) {
    return fail(Errc::invalid_argument,
                "--report takes one number of threads and one instruction set");
  }
  KVAULT_TRY(const ReportPaths paths,
             report_device(devices.front(), plan_report(flags.scale()), flags.target,
                           RunFacts::collect(flags.command, flags.note)));
  std::printf("%s\n%s\n%s\n", paths.page.c_str(), paths.figures.c_str(), paths.drawing.c_str());
  return kExitDone;
}

}  // namespace kvault::tools
