#include "tools/bench/daemon/figure.hpp"

#include <algorithm>
#include <cmath>

#include "core/base/result.hpp"
#include "tools/cli/report.hpp"

namespace kvault::tools {
namespace {

std::string text_of(double value) {
  return format_number(std::abs(value) < 10 ? "%.2f" : "%.1f", value);
}

std::string unit_of(const Figure& figure) { return figure.key.substr(figure.key.rfind('_') + 1); }

}  // namespace

double Figure::value() const {
  if (samples.empty()) return 0;
  std::vector<double> sorted(samples);
  std::sort(sorted.begin(), sorted.end());
  const double place = quantile * static_cast<double>(sorted.size() - 1);
  return sorted[static_cast<std::size_t>(std::lround(place))];
}

double Figure::least() const {
  return samples.empty() ? 0 : *std::min_element(samples.begin(), samples.end());
}

double Figure::most() const {
  return samples.empty() ? 0 : *std::max_element(samples.begin(), samples.end());
}

std::optional<bool> Figure::is_met() const {
  if (!target) return std::nullopt;
  return target->is_at_most ? value() <= target->limit : value() >= target->limit;
}

std::vector<std::vector<std::string>> table_of(const std::vector<Figure>& figures) {
  std::vector<std::vector<std::string>> table = {
      {"what", "unit", "value", "min", "max", "samples", "target", ""}};
  for (const Figure& figure : figures) {
    std::string target = "-";
    std::string verdict;
    if (figure.target) {
      target = message(figure.target->is_at_most ? "<= " : ">= ", text_of(figure.target->limit));
      verdict = *figure.is_met() ? "met" : "missed";
    }
    table.push_back({figure.what, unit_of(figure), text_of(figure.value()), text_of(figure.least()),
                     text_of(figure.most()), std::to_string(figure.samples.size()), target,
                     verdict});
  }
  return table;
}

nlohmann::ordered_json to_json(const std::vector<Figure>& figures) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Figure& figure : figures) {
    nlohmann::ordered_json object = {{"key", figure.key},
                                     {"what", figure.what},
                                     {"value", figure.value()},
                                     {"quantile", figure.quantile},
                                     {"min", figure.least()},
                                     {"max", figure.most()},
                                     {"n_sample", figure.samples.size()}};
    if (figure.target) {
      object[figure.target->is_at_most ? "at_most" : "at_least"] = figure.target->limit;
      object["is_met"] = *figure.is_met();
    }
    list.push_back(std::move(object));
  }
  return list;
}

}  // namespace kvault::tools
