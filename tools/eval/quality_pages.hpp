#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/base/result.hpp"

namespace kvault::eval {

/// run_plan's figures as quality.md and quality.html in `directory`.
Result<> write_pages(const nlohmann::ordered_json& figures, const std::filesystem::path& directory);

}  // namespace kvault::eval
