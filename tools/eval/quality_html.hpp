#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace kvault::eval {

/// run_plan's figures as one HTML file that refers to nothing outside itself: plots (quality
/// against bits, attention error by layer and head, error by position in the page), then the
/// tables.
std::string html_of(const nlohmann::ordered_json& figures);

}  // namespace kvault::eval
