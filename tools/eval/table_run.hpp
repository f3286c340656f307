#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>

#include "core/base/result.hpp"
#include "tools/eval/lab.hpp"
#include "tools/eval/table_plan.hpp"

namespace kvault::eval {

/// Called before every run with how many are done.
using OnRun = std::function<void(std::size_t n_done)>;

/// Runs a plan: {"model", "n_token", "n_token_options", "raw_kl" by stress level, "rows": [...]}, a
/// row being json_of's object with "table", "group" and "stress" before it and, in options, "base"
/// and the interval of the difference of its mean KL to the base's. Recall is measured in the table
/// "live" without stress. `file` gets what is there after every run. Options run on half the
/// tokens.
Result<nlohmann::ordered_json> run_plan(const LabOptions& options, std::span<const PlannedRun> plan,
                                        const std::filesystem::path& file, const OnRun& on_run);

}  // namespace kvault::eval
