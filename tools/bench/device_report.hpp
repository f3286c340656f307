#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tools/bench/bench_device.hpp"
#include "tools/bench/report_plan.hpp"
#include "tools/bench/report_run.hpp"
#include "tools/bench/run_facts.hpp"

namespace kvault::tools {

/// What was planned on one device, and what became of it so far.
struct DeviceReport {
  RunFacts facts;
  std::string backend;
  DeviceAdapter adapter;
  bool is_software_gpu = false;
  ReportPlan plan;
  std::vector<GroupOutcome> outcomes;  ///< of the plan's first groups
  std::string end;                     ///< why it ended early; empty: it did not
};

/// Where a report goes: a page, and beside it a folder of the same name with figures.json and
/// decode.svg.
struct ReportPaths {
  std::filesystem::path page;
  std::filesystem::path figures;
  std::filesystem::path drawing;

  /// `target` is the page (a name that ends in .md), or a folder in which it is named after the
  /// device.
  static ReportPaths of(const std::filesystem::path& target, const DeviceReport& report);
};

/// "vulkan-nvidia-geforce-rtx-4090".
std::string slug_of(const DeviceReport& report);

/// Measures the plan and writes the files after every group, so that a run that is killed leaves
/// what it had. Fails with Errc::device_lost or Errc::out_of_memory after the files were written.
Result<ReportPaths> report_device(const BenchDevice& device, const ReportPlan& plan,
                                  const std::filesystem::path& target, const RunFacts& facts);

}  // namespace kvault::tools
