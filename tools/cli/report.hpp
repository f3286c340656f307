#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"

namespace kvault::tools {

inline constexpr int kExitDone = 0;
inline constexpr int kExitBad = 1;
inline constexpr int kExitRefused = 2;

/// The exit code of a command; a failure is printed to stderr as one line.
int finish(const Result<int>& outcome);

/// Named facts, printed as an aligned table for people or as one JSON object.
class Report {
 public:
  /// `key` is the JSON name; people read it without its unit and with blanks ("n_page": "pages"),
  /// and `text` for the value where there is one.
  void add(std::string_view key, nlohmann::ordered_json value, std::string text = "");
  void print(bool as_json) const;

 private:
  struct Line {
    std::string label;
    std::string text;
  };
  nlohmann::ordered_json object_ = nlohmann::ordered_json::object();
  std::vector<Line> lines_;
};

/// Rows of text under a heading, columns aligned.
void print_columns(const std::vector<std::vector<std::string>>& rows);

/// printf of one double: format_number("%.2e", x).
std::string format_number(const char* format, double value);
/// "512 B", "1.50 MiB".
std::string format_size(std::uint64_t size_bytes);
/// "2.41 ms", "3.1 s".
std::string format_duration(double seconds);

}  // namespace kvault::tools
