#pragma once

#include "core/cache/cache.hpp"
#include "kvault/kvault.h"
#include "sdk/src/cache_handle.hpp"

namespace kvault::c {

/// Rows as the cache takes them; the cache checks them. invalid_argument where they are NULL.
Result<RowsView> to_rows(const kvault_cache& cache, const LayerSpec& spec, Side side,
                         const kvault_rows* rows);

/// Likewise the queries of an attend.
Result<AttendRequest> to_request(const LayerSpec& spec, const kvault_attend_options* given);

}  // namespace kvault::c
