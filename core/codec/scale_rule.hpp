#pragma once

#include <cstdint>

namespace kvault {

/// How the scale of a token is chosen at encode; decoding never knows. With residual r and its
/// quantised unit direction c:
enum class ScaleRule : std::uint8_t {
  plain,          ///< |r|: the paper's; kept for comparison
  matched,        ///< |r| / |c|: the decoded row has the norm of the row
  least_squares,  ///< <r, c> / <c, c>: the least error of the row
  /// |r|^2 / <r, c>: inner products are right on average (EDEN, arXiv 2108.08842, section 2.3)
  unbiased,
};

/// The one that loses no recall: docs/decisions/0020-unbiased-scales.md.
inline constexpr ScaleRule kDefaultScaleRule = ScaleRule::unbiased;

}  // namespace kvault
