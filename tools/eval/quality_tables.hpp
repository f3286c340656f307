#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace kvault::eval {

/// A heading, what it says, and rows of cells under column names.
struct QualityTable {
  std::string title;
  std::string text;
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
  std::vector<bool> is_ours;  ///< by row
};

/// run_plan's figures: codec only, live, and a table per option.
std::vector<QualityTable> tables_of(const nlohmann::ordered_json& figures);
/// The tables as Markdown.
std::string markdown_of(const nlohmann::ordered_json& figures);

}  // namespace kvault::eval
