#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "tools/bench/bench_row.hpp"

namespace kvault::tools {

/// The same variant measured twice.
struct RowPair {
  BenchRow before;
  BenchRow after;
  double time_ratio() const { return after.time_us / before.time_us; }
};

struct RowComparison {
  std::vector<RowPair> pairs;
  std::size_t n_only_before = 0;
  std::size_t n_only_after = 0;
};

/// Pairs rows of the same op, shape, device, instruction set, preset and threads. Fails where there
/// is no pair at all, or a time that nothing can be divided by.
Result<RowComparison> compare_rows(const std::vector<BenchRow>& before,
                                   const std::vector<BenchRow>& after);

/// For people, a heading first and the geometric mean of the ratios last.
std::vector<std::vector<std::string>> table_of(const RowComparison& comparison);

}  // namespace kvault::tools
