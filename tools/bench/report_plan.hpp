#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tools/bench/shape_bench.hpp"

namespace kvault::tools {

/// How much a report measures, and for how long.
struct ReportScale {
  std::vector<std::uint64_t> lengths = {1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072};
  std::uint64_t n_token = 16384;  ///< of every section but the first
  std::uint64_t set_size_bytes = std::uint64_t{256} << 20U;
  double row_time_s = 0.3;    ///< at least; five rounds at least
  double time_limit_s = 480;  ///< of the whole report

  /// For slow devices.
  static ReportScale quick() { return {{1024, 2048, 4096}, 1024, 32U << 20U, 0.1, 120}; }
};

/// Rows that are measured in turn: one line of a section's table.
struct ReportGroup {
  std::size_t section = 0;
  std::string label;  ///< of the line
  BenchShape shape;
  std::vector<BenchEntry> entries;  ///< f16 first where it takes part
};

/// A table of the report.
struct ReportSection {
  std::string title;
  std::string heading;  ///< of the lines' labels
  bool is_drawn = false;
};

/// What every report measures, in this order.
struct ReportPlan {
  ReportScale scale;
  std::vector<ReportSection> sections;
  std::vector<ReportGroup> groups;
};

ReportPlan plan_report(const ReportScale& scale);

}  // namespace kvault::tools
