#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace kvault::eval {

/// The middle 95 % of a statistic over resampled data.
struct Interval {
  double low = 0;
  double high = 0;
};

struct BootstrapOptions {
  std::size_t n_block = 64;  ///< neighbours that are drawn together, for they are alike
  std::uint32_t n_resample = 300;
  std::uint64_t seed = 1;
};

/// Block bootstrap (Künsch, Annals of Statistics 17(3), 1989, with blocks that do not overlap): the
/// same values and options give the same interval.
Interval bootstrap(std::span<const double> values,
                   const std::function<double(std::span<const double>)>& statistic,
                   const BootstrapOptions& options = {});

}  // namespace kvault::eval
