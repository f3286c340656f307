#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace kvault::eval {

/// Text as HTML.
std::string escaped(const std::string& text);

/// SVG: mean KL (logarithmic) over bits per element of a table's unstressed rows, a mark and a name
/// each.
std::string quality_against_bits(const nlohmann::ordered_json& figures, const std::string& table);
/// SVG: attention error of every layer and head, for the schemes of kMapped that were run.
std::string error_heat_maps(const nlohmann::ordered_json& figures);
/// SVG: mean KL by position mod 128, codec only and live.
std::string error_by_position(const nlohmann::ordered_json& figures);

}  // namespace kvault::eval
