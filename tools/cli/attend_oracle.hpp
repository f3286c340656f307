#pragma once

#include "core/base/result.hpp"
#include "core/oracle/oracle.hpp"
#include "kvault/kvault.hpp"
#include "tools/cli/attend_job.hpp"

namespace kvault::tools {

/// The job's attention in double precision over the same bytes: sealed blocks as `cache` stores
/// them (all valid rows must have been appended), raw pages from the input rows.
Result<oracle::AttendOutput> attend_by_oracle(const AttendJob& job, const sdk::CacheView& cache,
                                              bool show_progress);

}  // namespace kvault::tools
