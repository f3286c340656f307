#include <algorithm>
#include <cmath>
#include <limits>

#include "core/oracle/oracle.hpp"

namespace kvault::oracle {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// NaN counts as infinitely wrong, not as nothing.
double worse(double a, double b) { return std::max(a, std::isnan(b) ? kInfinity : b); }

double granted(const AttendOutput& truth, std::size_t row, Eta eta) {
  return eta == Eta::granted ? truth.eta[row] : 0.0;
}

}  // namespace

double worst_error(const AttendOutput& truth, std::span<const float> out,
                   std::uint32_t value_head_dim, Eta eta) {
  if (out.size() != truth.out.size() || out.size() != truth.error_scale.size() * value_head_dim) {
    return kInfinity;
  }
  double worst = 0;
  for (std::size_t row = 0; row < truth.error_scale.size(); ++row) {
    double square = 0;
    for (std::size_t i = row * value_head_dim; i < (row + 1) * value_head_dim; ++i) {
      const double difference = static_cast<double>(out[i]) - truth.out[i];
      square += difference * difference;
    }
    if (square == 0) continue;
    worst = worse(worst, std::sqrt(square) / truth.error_scale[row] - granted(truth, row, eta));
  }
  return worst;
}

double worst_lse_error(const AttendOutput& truth, std::span<const float> lse, Eta eta) {
  if (lse.size() != truth.lse.size()) return kInfinity;
  double worst = 0;
  for (std::size_t row = 0; row < lse.size(); ++row) {
    const auto given = static_cast<double>(lse[row]);
    if (given == truth.lse[row]) continue;  // also -infinity on both sides
    worst = worse(worst, std::fabs(given - truth.lse[row]) - granted(truth, row, eta));
  }
  return worst;
}

}  // namespace kvault::oracle
