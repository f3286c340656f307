#include "tools/bench/report_run.hpp"

#include <algorithm>
#include <new>

#include "tools/bench/bench_group.hpp"
#include "tools/cli/report.hpp"

namespace kvault::tools {
namespace {

/// Rounds of measure_in_turn at least, with the one that warms up.
constexpr double kRounds = 6;
/// A slow group may take more than its share of what is left, for many need less.
constexpr double kShares = 3;

/// What a visit takes once the first has warmed up, whatever share of it the variant calls a call.
Result<double> time_visit_us(Variant& variant) {
  KVAULT_CHECK(variant.visit_us());
  const BenchClock::time_point start = BenchClock::now();
  KVAULT_CHECK(variant.visit_us());
  return us_since(start);
}

}  // namespace

/// The contestants of a group that can be measured.
struct ReportRun::Entered {
  std::vector<Contestant> contestants;
  double round_us = 0;  ///< one visit of each
};

GroupOutcome ReportRun::measure_next() {
  const ReportGroup& group = plan_.groups[n_done_];
  GroupOutcome outcome;
  if (end_) {
    outcome = leave_out(group, "the run had ended: " + end_->message);
  } else if (seconds_left() <= 0) {
    outcome = leave_out(
        group, format_number("the time limit of %.0f s was reached", plan_.scale.time_limit_s));
  } else if (is_hopeless(group)) {
    outcome = leave_out(group, "too slow for the time limit, as a smaller one was before it");
  } else {
    outcome = measure(group);
  }
  ++n_done_;
  return outcome;
}

double ReportRun::seconds_left() const {
  return plan_.scale.time_limit_s - us_since(start_) * 1e-6;
}

double ReportRun::seconds_of_next() const {
  return seconds_left() * kShares / static_cast<double>(plan_.groups.size() - n_done_);
}

ShapeBench& ReportRun::bench_of(const BenchShape& shape) {
  if (!bench_ || !(shape == shape_)) {
    bench_.reset();  // before the next one takes memory
    bench_.emplace(shape, plan_.scale.set_size_bytes);
    shape_ = shape;
  }
  return *bench_;
}

/// Why the group takes too long; empty: it does not, as far as is known yet.
std::string ReportRun::refuse_time(const Entered& entered, std::size_t n_entry,
                                   double share_s) const {
  const double needed_s = entered.round_us * 1e-6 * kRounds;
  if (needed_s <= share_s && seconds_left() > 0) return {};
  return message("too slow for the time limit: six rounds over ", entered.contestants.size(),
                 " of ", n_entry, " variants take ", format_duration(needed_s), ", ",
                 format_duration(share_s), " were to spare");
}

/// Whether it has no less to do in anything than one that was too slow. Its first calls alone may
/// take minutes.
bool ReportRun::is_hopeless(const ReportGroup& group) const {
  const BenchEntry& entry = group.entries.front();
  return std::any_of(too_slow_.begin(), too_slow_.end(), [&](const ReportGroup* slow) {
    const BenchEntry& other = slow->entries.front();
    return is_attention(entry.op) && is_attention(other.op) && entry.n_q >= other.n_q &&
           group.shape.n_head >= slow->shape.n_head &&
           group.shape.head_dim >= slow->shape.head_dim &&
           group.shape.n_token >= slow->shape.n_token;
  });
}

GroupOutcome ReportRun::measure(const ReportGroup& group) try {
  GroupOutcome outcome;
  ShapeBench& bench = bench_of(group.shape);
  const double share_s = seconds_of_next();
  Entered entered;
  std::size_t base = Contestant::kNoBase;
  for (const BenchEntry& entry : group.entries) {
    Result<Contestant> contestant = bench.enter(device_, entry);
    const Result<double> visit_us = contestant ? time_visit_us(*contestant->variant)
                                               : tl::unexpected<Error>(contestant.error());
    if (!visit_us) {
      take(visit_us.error());
      if (end_) return leave_out(group, end_->message);
      outcome.left_out.push_back({bench.row_of(device_, entry), visit_us.error().message});
      continue;
    }
    if (entry.preset.key == Scheme::raw) base = entered.contestants.size();
    contestant->base = has_base(entry.op) ? base : Contestant::kNoBase;
    entered.contestants.push_back(std::move(*contestant));
    entered.round_us += *visit_us;
    const std::string why = refuse_time(entered, group.entries.size(), share_s);
    if (!why.empty()) {
      too_slow_.push_back(&group);
      return leave_out(group, why);
    }
  }
  measure_entered(entered, group.label, outcome);
  return outcome;
} catch (const std::bad_alloc&) {
  take({.code = Errc::out_of_memory, .message = "no memory on the host"});
  return leave_out(group, end_->message);
}

void ReportRun::measure_entered(Entered& entered, const std::string& label, GroupOutcome& outcome) {
  if (entered.contestants.empty()) return;
  Result<std::vector<BenchRow>> rows =
      measure_group(entered.contestants, {0, plan_.scale.row_time_s}, label);
  if (rows) {
    outcome.rows = std::move(*rows);
    return;
  }
  take(rows.error());
  for (const Contestant& contestant : entered.contestants) {
    outcome.left_out.push_back({contestant.row, rows.error().message});
  }
}

/// Nothing can be measured after these, or nothing like what was planned.
void ReportRun::take(const Error& error) {
  if (error.code == Errc::device_lost || error.code == Errc::out_of_memory) end_ = error;
}

GroupOutcome ReportRun::leave_out(const ReportGroup& group, const std::string& why) {
  GroupOutcome outcome;
  const ShapeBench bench(group.shape, plan_.scale.set_size_bytes);
  for (const BenchEntry& entry : group.entries) {
    outcome.left_out.push_back({bench.row_of(device_, entry), why});
  }
  return outcome;
}

}  // namespace kvault::tools
