#pragma once

#include <vector>

#include "core/base/result.hpp"
#include "tools/bench/bench_options.hpp"
#include "tools/bench/bench_row.hpp"
#include "tools/bench/ggml_peer.hpp"

namespace kvault::tools {

/// Measures everything that was asked for, shape after shape; within a shape and op all presets,
/// thread counts, instruction sets and peers in turn. kvault's own attention over raw f16 is always
/// among them: it is what speedups are measured against. `peer` may be null.
/// pre: check_bench_options(options)
Result<std::vector<BenchRow>> run_bench(const BenchOptions& options, const GgmlPeer* peer);

}  // namespace kvault::tools
