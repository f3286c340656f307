#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace kvault::tools {

/// What a figure is to reach: at most (or at least) `limit`.
struct Target {
  double limit = 0;
  bool is_at_most = true;
};

/// One thing that was measured, several times.
struct Figure {
  std::string key;   ///< "attach_ms"; the unit is the last word
  std::string what;  ///< for people
  std::vector<double> samples;
  double quantile = 0.5;  ///< which of the samples counts
  std::optional<Target> target = {};

  double value() const;
  double least() const;
  double most() const;
  /// Empty where there is no target.
  std::optional<bool> is_met() const;
};

/// The figures for people, a heading first, and as a JSON list.
std::vector<std::vector<std::string>> table_of(const std::vector<Figure>& figures);
nlohmann::ordered_json to_json(const std::vector<Figure>& figures);

}  // namespace kvault::tools
