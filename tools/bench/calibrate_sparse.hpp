#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "tools/bench/bench_options.hpp"
#include "tools/cli/report.hpp"

namespace kvault::tools {

/// What sparse values cost and gain at one length.
struct SparseTimes {
  std::uint64_t n_token = 0;
  double whole_us = 0;  ///< off
  double none_us = 0;   ///< on, and no page can be left out
  double all_us = 0;    ///< on, and all pages but the first can

  /// Time over `off` where a share of the pages can be left out.
  double ratio_at(double share) const;
  /// The share from which on it is faster than `off`; above 1: never.
  double break_even_share() const;
};

/// The answer for one machine, preset and number of threads.
struct SparseCalibration {
  std::string device;
  std::string instruction_set;
  std::string preset;
  std::uint32_t n_threads = 1;
  std::vector<SparseTimes> times;  ///< by length
  /// From this length on half of the pages left out save 5 % and a quarter costs nothing; empty:
  /// at none of the measured lengths.
  std::optional<std::uint64_t> n_token_min;
};

/// Measures at 1024, 2048, .. 65536 tokens with the first of the options' presets and thread
/// counts. Errc::unsupported for a preset of raw keys.
Result<SparseCalibration> calibrate_sparse_values(const BenchOptions& options);

/// The least length from which on it pays at every greater one.
std::optional<std::uint64_t> least_paying_length(const std::vector<SparseTimes>& times);

std::vector<std::vector<std::string>> table_of(const SparseCalibration& calibration);
std::string verdict_of(const SparseCalibration& calibration);
Result<> write_calibration(const std::string& path, const SparseCalibration& calibration);

}  // namespace kvault::tools
