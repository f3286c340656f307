#pragma once

#include <string>
#include <vector>

#include "tools/bench/bench_row.hpp"

namespace kvault::tools {

/// The rows for people, a heading first: [n_row + 1, n_column].
std::vector<std::vector<std::string>> table_of(const std::vector<BenchRow>& rows);

}  // namespace kvault::tools
