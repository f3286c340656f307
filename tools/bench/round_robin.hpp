#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "tools/bench/variant.hpp"

namespace kvault::tools {

/// How long to measure: `n_repetition` rounds, or, where it is 0, at least five and as many as
/// give every variant `min_time_s` on average.
struct RoundLimit {
  std::uint32_t n_repetition = 0;
  double min_time_s = 1;
};

/// What the visits of one variant took, per call.
struct Samples {
  std::vector<double> times_us;
  double median_us() const;
  double min_us() const;
};

/// Visits all variants in turn, round after round, so that whatever else the machine does meets all
/// alike. The first round warms up and does not count. [n_variant]
Result<std::vector<Samples>> measure_in_turn(std::span<Variant* const> variants,
                                             const RoundLimit& limit, const std::string& label);

}  // namespace kvault::tools
