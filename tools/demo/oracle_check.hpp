#pragma once

#include <cstdint>
#include <vector>

#include "core/base/result.hpp"
#include "tools/model/attention_port.hpp"

namespace kvault::tools {

/// The bound of attend's error, and what the wrong codebook has to exceed.
inline constexpr double kAttentionErrorMax = 2e-3;
inline constexpr double kControlErrorMin = 10 * kAttentionErrorMax;

/// Errors of attend as the oracle sees them, worst of all heads looked at.
struct OracleOpinion {
  double attention_error = 0;
  /// The error an oracle with a wrong codebook finds: a check that cannot fail checks nothing.
  double control_error = 0;
};

/// Attends once more with the last step's queries, in double precision by core/oracle, over the
/// cache's blocks as stored, and compares with what the cache gave. Looks at every head of
/// `layers`. pre: the step lies within one page and does not fill it, so that the pages the
/// queries saw are still as they saw them
Result<OracleOpinion> ask_oracle(const CacheAttention& attention,
                                 const std::vector<std::uint32_t>& layers);

}  // namespace kvault::tools
