#pragma once

#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "kvault/kvault.hpp"
#include "tools/cli/attend_job.hpp"

namespace kvault::tools {

/// What attention gives.
struct AttendAnswer {
  std::vector<float> out;  ///< [n_q, n_head, value_head_dim]
  std::vector<float> lse;  ///< [n_q, n_head]
};

/// An empty cache of one layer for the job.
Result<sdk::Cache> create_cache(const AttendJob& job, const std::string& device);

/// Appends all valid rows, `chunk` tokens at a time.
Result<> append_all(const AttendJob& job, sdk::CacheView& cache, bool show_progress);

/// Appends all valid rows and attends; causal queries with their own tokens where pages stay raw,
/// so that each sees the state of its own position.
Result<AttendAnswer> attend_with_cache(const AttendJob& job, sdk::CacheView& cache,
                                       bool show_progress);

}  // namespace kvault::tools
