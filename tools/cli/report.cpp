#include "tools/cli/report.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

namespace kvault::tools {
namespace {

/// What people read: n_sealed_page is "sealed pages", stored_size_bytes "stored size".
std::string label_of(std::string_view key) {
  for (const std::string_view unit : {"_bytes", "_unix_s", "_s"}) {
    if (key.ends_with(unit)) key.remove_suffix(unit.size());
  }
  std::string label(key.starts_with("n_") ? key.substr(2) : key);
  if (key.starts_with("n_") && !label.ends_with("ed")) label += 's';
  std::replace(label.begin(), label.end(), '_', ' ');
  return label;
}

}  // namespace

int finish(const Result<int>& outcome) {
  if (outcome) return *outcome;
  std::string line = outcome.error().message;
  std::replace(line.begin(), line.end(), '\n', ' ');
  const std::string name(name_of(outcome.error().code));
  std::fprintf(stderr, "kvault: %s: %s\n", name.c_str(), line.c_str());
  return kExitRefused;
}

void Report::add(std::string_view key, nlohmann::ordered_json value, std::string text) {
  if (text.empty()) text = value.is_string() ? value.get<std::string>() : value.dump();
  lines_.push_back({label_of(key), std::move(text)});
  object_[std::string(key)] = std::move(value);
}

void Report::print(bool as_json) const {
  if (as_json) {
    std::printf("%s\n", object_.dump(2).c_str());
    return;
  }
  std::vector<std::vector<std::string>> rows;
  for (const Line& line : lines_) rows.push_back({line.label, line.text});
  print_columns(rows);
}

void print_columns(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const std::vector<std::string>& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const std::vector<std::string>& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - row[i].size() + 2, ' ');
    }
    std::printf("%s\n", line.c_str());
  }
}

std::string format_number(const char* format, double value) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), format, value);
  return text.data();
}

std::string format_size(std::uint64_t size_bytes) {
  constexpr std::array kUnits = {"KiB", "MiB", "GiB", "TiB"};
  if (size_bytes < 1024) return message(size_bytes, " B");
  double size = static_cast<double>(size_bytes) / 1024;
  std::size_t unit = 0;
  while (size >= 1024 && unit + 1 < kUnits.size()) {
    size /= 1024;
    ++unit;
  }
  return format_number("%.2f ", size) + kUnits[unit];
}

std::string format_duration(double seconds) {
  return seconds < 1 ? format_number("%.2f ms", seconds * 1e3) : format_number("%.2f s", seconds);
}

}  // namespace kvault::tools
