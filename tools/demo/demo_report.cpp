#include "tools/demo/demo_report.hpp"

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "tools/cli/report.hpp"
#include "tools/demo/oracle_check.hpp"

namespace kvault::tools {
namespace {

/// How much recall a preset of 4 bits and more may lose.
constexpr double kRecallLossMax = 0.02;

bool is_identical(const DemoOutcome& outcome) {
  return outcome.is_same_session && outcome.plain.n_different_reply == 0 &&
         outcome.plain.n_different_logits == 0;
}

bool is_control_caught(const DemoOutcome& outcome) {
  return outcome.seen.numbers.control_error > kControlErrorMin;
}

/// One sentence for every check that failed.
std::vector<std::string> faults_of(const DemoOutcome& outcome) {
  std::vector<std::string> faults;
  const PlainChat& plain = outcome.plain;
  if (!outcome.is_same_session) faults.push_back("the session's tokens are others");
  if (plain.n_different_reply != 0) {
    faults.push_back(message(plain.n_different_reply, " replies are others"));
  }
  if (plain.n_different_logits != 0) {
    faults.push_back(message(plain.n_different_logits, " replies have other logits"));
  }
  const FinalNumbers& numbers = outcome.seen.numbers;
  if (!(numbers.attention_error <= kAttentionErrorMax)) {
    faults.push_back("the error of attention is " + format_number("%.2e", numbers.attention_error));
  }
  if (!is_control_caught(outcome)) {
    faults.push_back("a wrong codebook goes unnoticed: error " +
                     format_number("%.2e", numbers.control_error));
  }
  const bool is_precise = outcome.preset == "raw" || outcome.preset == "f16" ||
                          outcome.preset.starts_with("k8") || outcome.preset == "k4v4";
  const double loss = outcome.raw.recall.share() - plain.recall.share();
  if (is_precise && loss > kRecallLossMax) {
    faults.push_back("recall is worse by " + format_number("%.3f", loss));
  }
  if (outcome.disk.n_damaged != 0) {
    faults.push_back(message(outcome.disk.n_damaged, " records are damaged"));
  }
  return faults;
}

nlohmann::ordered_json share_or_null(const RecallScore& score) {
  if (score.n_asked == 0) return nullptr;
  return score.share();
}

std::string text_of_share(const RecallScore& score) {
  if (score.n_asked == 0) return "-";
  return format_number("%.4f", score.share()) +
         message(" (", score.n_right, " of ", score.n_asked, ")");
}

std::string text_of_ms(double milliseconds) { return format_duration(milliseconds / 1e3); }

void add_size_lines(const DemoOutcome& outcome, Report& report) {
  const std::uint64_t f16_bytes = outcome.seen.numbers.f16_bytes;
  const double n_element = static_cast<double>(f16_bytes) / 2;
  const double bits = 8 * static_cast<double>(outcome.disk.live_bytes) / n_element;
  const double cache_bits = 8 * static_cast<double>(outcome.seen.numbers.cache_bytes) / n_element;
  report.add("n_token", outcome.seen.n_token);
  report.add("preset", outcome.preset);
  report.add("f16_bytes", f16_bytes, format_size(f16_bytes));
  report.add("stored_bytes", outcome.disk.live_bytes, format_size(outcome.disk.live_bytes));
  report.add("pack_bytes", outcome.disk.pack_bytes, format_size(outcome.disk.pack_bytes));
  report.add("bits_per_element", bits, format_number("%.3f on disk, all-in", bits));
  report.add("bits_per_element_in_memory", cache_bits, format_number("%.3f", cache_bits));
}

void add_time_lines(const DemoOutcome& outcome, Report& report) {
  const SeenChat& seen = outcome.seen;
  const double median = quantile_of(seen.save_ms, 0.5);
  const double worst = quantile_of(seen.save_ms, 1.0);
  report.add("save_ms_median", median, text_of_ms(median));
  report.add("save_ms_max", worst, text_of_ms(worst));
  report.add("killed_at_token", seen.killed_at);
  report.add("resumed_at_token", seen.resumed_at);
  report.add("resume_ms", seen.resume_ms, text_of_ms(seen.resume_ms));
  report.add("reprefill_ms", outcome.reprefill_ms, text_of_ms(outcome.reprefill_ms));
}

}  // namespace

int print_outcome(const DemoOutcome& outcome, bool as_json) {
  const std::vector<std::string> faults = faults_of(outcome);
  const FinalNumbers& numbers = outcome.seen.numbers;
  Report report;
  add_size_lines(outcome, report);
  add_time_lines(outcome, report);
  report.add("attention_error", numbers.attention_error,
             format_number("%.2e", numbers.attention_error));
  report.add("negative_control_error", numbers.control_error,
             format_number("%.2e", numbers.control_error));
  report.add("negative_control_caught", is_control_caught(outcome),
             is_control_caught(outcome) ? "yes" : "NO");
  report.add("kl_mean", outcome.raw.kl.mean, format_number("%.2e", outcome.raw.kl.mean));
  report.add("kl_p99", outcome.raw.kl.p99, format_number("%.2e", outcome.raw.kl.p99));
  report.add("recall", share_or_null(outcome.plain.recall), text_of_share(outcome.plain.recall));
  report.add("recall_raw", share_or_null(outcome.raw.recall), text_of_share(outcome.raw.recall));
  report.add("agreement", share_or_null(outcome.raw.agreement),
             text_of_share(outcome.raw.agreement));
  report.add("n_reply", outcome.seen.replies.size());
  report.add("identical", is_identical(outcome),
             is_identical(outcome) ? "yes, every token and every bit of every logit" : "NO");
  report.add("ok", faults.empty(), faults.empty() ? "yes" : "NO");
  report.print(as_json);
  for (const std::string& fault : faults) std::fprintf(stderr, "kvault: %s\n", fault.c_str());
  return faults.empty() ? kExitDone : kExitBad;
}

}  // namespace kvault::tools
