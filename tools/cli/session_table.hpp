#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kvault/kvault.h"

namespace kvault::tools {

std::vector<std::string> labels_of(const kvault_session_info& info);
nlohmann::ordered_json json_of(const kvault_session_info& info);
/// The cells of a session's line, under session_heading().
std::vector<std::string> cells_of(const kvault_session_info& info);
std::vector<std::string> session_heading();

}  // namespace kvault::tools
