#pragma once

#include <cstdint>
#include <vector>

namespace kvault::eval {

/// The x below which a share p of the standard normal distribution lies, 0 < p < 1; to 1e-9.
double normal_quantile(double p);
/// The standard normal's share below x.
double normal_share(double x);

/// Lloyd-Max's quantiser of the standard normal distribution.
struct LloydMax {
  std::vector<double> values;  ///< [2^bits], ascending
  double mse = 0;
};
/// pre: bits in 1..8
LloydMax lloyd_max(std::uint32_t bits);
/// The same of a normal distribution cut off at +-limit, ExecuTorch's.
LloydMax lloyd_max_within(std::uint32_t bits, double limit);
/// Lloyd-Max's quantiser of one coordinate of a unit vector of `dim` dimensions, times sqrt(dim)
/// (TurboQuant, arXiv 2504.19874, lemma 1 and equation 4). pre: dim >= 3
LloydMax lloyd_max_on_sphere(std::uint32_t bits, std::uint32_t dim);

}  // namespace kvault::eval
