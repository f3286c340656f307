#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "tools/bench/bench_device.hpp"
#include "tools/bench/report_plan.hpp"
#include "tools/bench/variant.hpp"

namespace kvault::tools {

/// A row of the plan that was not measured.
struct LeftOutRow {
  BenchRow row;
  std::string why;
};

/// What became of the entries of one group: each is in one of the two lists.
struct GroupOutcome {
  std::vector<BenchRow> rows;
  std::vector<LeftOutRow> left_out;
};

/// Measures a plan group by group. What a device cannot do and what does not fit into the time
/// limit is left out by name; a lost device or no memory ends the run, and the rest is left out.
/// The device and the plan must outlive it.
class ReportRun {
 public:
  ReportRun(const BenchDevice& device, const ReportPlan& plan) : device_(device), plan_(plan) {}

  bool is_done() const { return n_done_ == plan_.groups.size(); }
  /// pre: !is_done()
  GroupOutcome measure_next();
  /// Why the run ended before its plan did.
  const std::optional<Error>& end() const { return end_; }

 private:
  struct Entered;
  double seconds_left() const;
  double seconds_of_next() const;
  ShapeBench& bench_of(const BenchShape& shape);
  std::string refuse_time(const Entered& entered, std::size_t n_entry, double share_s) const;
  bool is_hopeless(const ReportGroup& group) const;
  GroupOutcome measure(const ReportGroup& group);
  void measure_entered(Entered& entered, const std::string& label, GroupOutcome& outcome);
  void take(const Error& error);
  GroupOutcome leave_out(const ReportGroup& group, const std::string& why);

  const BenchDevice& device_;
  const ReportPlan& plan_;
  BenchClock::time_point start_ = BenchClock::now();
  std::size_t n_done_ = 0;
  BenchShape shape_;
  std::optional<ShapeBench> bench_;  ///< of shape_
  std::vector<const ReportGroup*> too_slow_;
  std::optional<Error> end_;
};

}  // namespace kvault::tools
