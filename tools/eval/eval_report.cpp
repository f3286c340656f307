#include "tools/eval/eval_report.hpp"

#include <cstdio>

#include "tools/cli/report.hpp"

namespace kvault::eval {
namespace {

using nlohmann::ordered_json;
using tools::format_number;
using tools::mean_of;
using tools::quantile_of;

std::vector<double> differences(std::span<const double> a, std::span<const double> b) {
  std::vector<double> result(a.begin(), a.end());
  for (std::size_t i = 0; i < result.size() && i < b.size(); ++i) result[i] -= b[i];
  return result;
}

ordered_json json_of(const Interval& interval) {
  return ordered_json::array({interval.low, interval.high});
}

std::string with_interval(const char* format, double value, const Interval& interval) {
  return format_number(format, value) + "  [" + format_number(format, interval.low) + ", " +
         format_number(format, interval.high) + "]";
}

ordered_json details_of(const EvalSummary& summary) {
  ordered_json details;
  details["n_scored"] = summary.n_scored;
  details["nll_raw"] = summary.raw_nll;
  details["nll_difference_interval"] = json_of(summary.nll_difference);
  details["kl_p50"] = summary.kl_p50;
  details["kl_mean_interval"] = json_of(summary.kl_mean_interval);
  details["kl_p99_interval"] = json_of(summary.kl_p99_interval);
  details["kl_p999_interval"] = json_of(summary.kl_p999_interval);
  details["top1_interval"] = json_of(summary.top1_interval);
  for (const RecallSummary& recall : summary.recall) {
    details["recall"].push_back({{"distance", recall.distance},
                                 {"share", recall.share},
                                 {"share_raw", recall.raw_share},
                                 {"difference_interval", json_of(recall.difference)},
                                 {"nll", recall.nll},
                                 {"nll_raw", recall.raw_nll}});
  }
  details["kl_by_page_position"] = summary.kl_by_page_position;
  details["attention_error"] = summary.head_errors;
  if (!summary.baseline.empty()) {
    details["baseline"] = {{"preset", summary.baseline},
                           {"kl_mean", summary.baseline_kl_mean},
                           {"kl_p999", summary.baseline_kl_p999}};
  }
  return details;
}

std::string layer_line(const std::vector<double>& errors) {
  std::string line;
  for (const double error : errors) line += format_number(" %.4f", error);
  return line.substr(1);
}

}  // namespace

EvalSummary summarise(const EvalSetup& setup, const std::string& preset, const EvalScores& scores,
                      const Reference& raw) {
  const auto quantile = [](double q) {
    return [q](std::span<const double> values) { return quantile_of(values, q); };
  };
  EvalSummary summary;
  summary.preset = preset;
  summary.n_token = setup.n_sequence * setup.n_context;
  summary.n_scored = scores.kl.size();
  summary.nll = mean_of(scores.nll);
  summary.raw_nll = mean_of(raw.nll);
  summary.nll_difference = bootstrap(differences(scores.nll, raw.nll), mean_of);
  summary.kl_mean = mean_of(scores.kl);
  summary.kl_p50 = quantile_of(scores.kl, 0.5);
  summary.kl_p99 = quantile_of(scores.kl, 0.99);
  summary.kl_p999 = quantile_of(scores.kl, 0.999);
  summary.kl_mean_interval = bootstrap(scores.kl, mean_of);
  summary.kl_p99_interval = bootstrap(scores.kl, quantile(0.99));
  summary.kl_p999_interval = bootstrap(scores.kl, quantile(0.999));
  summary.top1_agreement = mean_of(scores.agree);
  summary.top1_interval = bootstrap(scores.agree, mean_of);
  summary.bits_per_element = scores.bits_per_element;
  summary.bits_per_element_32k = scores.bits_per_element_32k;
  for (std::size_t i = 0; i < scores.recall.size(); ++i) {
    const Recall& coded = scores.recall[i];
    const Recall& plain = raw.recall[i];
    summary.recall.push_back(
        {.distance = coded.distance,
         .share = coded.share(),
         .raw_share = plain.share(),
         .difference = bootstrap(differences(coded.right, plain.right), mean_of),
         .nll = coded.nll,
         .raw_nll = plain.nll});
  }
  summary.kl_by_page_position = by_page_position(setup, scores.kl);
  for (const std::vector<HeadError>& layer : scores.head_errors) {
    std::vector<double> errors;
    for (const HeadError& error : layer) errors.push_back(error.relative());
    summary.head_errors.push_back(std::move(errors));
  }
  return summary;
}

ordered_json json_of(const EvalSummary& summary, bool with_details) {
  ordered_json object;
  object["preset"] = summary.preset;
  object["n_token"] = summary.n_token;
  object["nll"] = summary.nll;
  object["kl_mean"] = summary.kl_mean;
  object["kl_p99"] = summary.kl_p99;
  object["kl_p999"] = summary.kl_p999;
  object["top1_agreement"] = summary.top1_agreement;
  object["bits_per_element"] = summary.bits_per_element;
  object["bits_per_element_32k"] = summary.bits_per_element_32k;
  if (with_details) object["details"] = details_of(summary);
  return object;
}

void print(const EvalSummary& summary) {
  tools::Report report;
  report.add("preset", summary.preset);
  report.add("n_token", summary.n_token, message(summary.n_token, ", scored: ", summary.n_scored));
  report.add(
      "nll", summary.nll,
      message(format_number("%.5f", summary.nll), ", raw ", format_number("%.5f", summary.raw_nll),
              "; difference  [", format_number("%.5f", summary.nll_difference.low), ", ",
              format_number("%.5f", summary.nll_difference.high), "]"));
  report.add("kl_mean", 0, with_interval("%.2e", summary.kl_mean, summary.kl_mean_interval));
  report.add("kl_p50", 0, format_number("%.2e", summary.kl_p50));
  report.add("kl_p99", 0, with_interval("%.2e", summary.kl_p99, summary.kl_p99_interval));
  report.add("kl_p999", 0, with_interval("%.2e", summary.kl_p999, summary.kl_p999_interval));
  report.add("top1_agreement", 0,
             with_interval("%.4f", summary.top1_agreement, summary.top1_interval));
  report.add("bits_per_element", 0, format_number("%.3f", summary.bits_per_element));
  report.add("bits_per_element_32k", 0, format_number("%.3f", summary.bits_per_element_32k));
  for (const RecallSummary& recall : summary.recall) {
    report.add(message("recall_at_", recall.distance), 0,
               message(format_number("%.4f", recall.share), ", raw ",
                       format_number("%.4f", recall.raw_share), "; difference  [",
                       format_number("%.4f", recall.difference.low), ", ",
                       format_number("%.4f", recall.difference.high), "]"));
  }
  std::string positions;
  for (const double kl : summary.kl_by_page_position) positions += format_number(" %.1e", kl);
  report.add("kl_by_page_position", 0, positions.substr(positions.empty() ? 0 : 1));
  for (std::size_t layer = 0; layer < summary.head_errors.size(); ++layer) {
    report.add(message("attention_error_layer_", layer), 0, layer_line(summary.head_errors[layer]));
  }
  if (!summary.baseline.empty()) {
    report.add(
        "baseline", 0,
        message(summary.baseline, ": KL mean ", format_number("%.2e", summary.baseline_kl_mean),
                " (ratio ", format_number("%.2f", summary.kl_mean / summary.baseline_kl_mean),
                "), p99.9 ", format_number("%.2e", summary.baseline_kl_p999), " (ratio ",
                format_number("%.2f", summary.kl_p999 / summary.baseline_kl_p999), ")"));
  }
  report.print(false);
}

}  // namespace kvault::eval
