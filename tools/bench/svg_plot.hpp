#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "tools/bench/bench_row.hpp"

namespace kvault::tools {

/// Time against context, both logarithmic: a line per op, head_dim and variant. A whole SVG file
/// that refers to nothing outside.
std::string svg_of(const std::vector<BenchRow>& rows);
Result<> write_svg(const std::filesystem::path& path, const std::vector<BenchRow>& rows);

}  // namespace kvault::tools
