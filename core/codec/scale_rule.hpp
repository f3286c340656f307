#pragma once

#include <cstdint>

namespace kvault {

/// How the scale of a token is chosen at encode; decoding never knows. With residual r and its
/// quantised unit direction c:
enum class ScaleRule : std::uint8_t {
  plain,          ///< |r|: the paper's; kept for comparison, costs 70 % more KL
  matched,        ///< |r| / |c|: the decoded row has the norm of the row
  least_squares,  ///< <r, c> / <c, c>: the least error of the row
  unbiased,       ///< |r|^2 / <r, c>: inner products are right on average (EDEN, arXiv 2102.05880)
};

}  // namespace kvault
