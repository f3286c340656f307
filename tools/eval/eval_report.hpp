#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/eval/evaluation.hpp"

namespace kvault::eval {

/// Recall at one distance.
struct RecallSummary {
  std::size_t distance = 0;
  double share = 0;
  double raw_share = 0;
  Interval difference;  ///< of share - raw_share, token by token
  double nll = 0;
  double raw_nll = 0;
};

/// EvalScores in numbers to print.
struct EvalSummary {
  std::string preset;
  std::size_t n_token = 0;  ///< run over
  std::size_t n_scored = 0;
  double nll = 0;
  double raw_nll = 0;
  Interval nll_difference;
  double kl_mean = 0;
  double kl_p50 = 0;
  double kl_p99 = 0;
  double kl_p999 = 0;
  Interval kl_mean_interval;
  Interval kl_p99_interval;
  Interval kl_p999_interval;
  double top1_agreement = 0;
  Interval top1_interval;
  double bits_per_element = 0;
  double bits_per_element_32k = 0;
  std::vector<RecallSummary> recall;
  std::vector<double> kl_by_page_position;       ///< [16]
  std::vector<std::vector<double>> head_errors;  ///< [n_layer][n_head], relative
  std::string baseline;                          ///< empty: none
  double baseline_kl_mean = 0;
  double baseline_kl_p999 = 0;
};

EvalSummary summarise(const EvalSetup& setup, const std::string& preset, const EvalScores& scores,
                      const Reference& raw);
/// The nine keys that scripts read; `with_details`: everything else under "details".
nlohmann::ordered_json json_of(const EvalSummary& summary, bool with_details);
/// For people, on stdout.
void print(const EvalSummary& summary);

}  // namespace kvault::eval
