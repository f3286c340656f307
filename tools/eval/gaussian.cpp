#include "tools/eval/gaussian.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <numbers>

#include "core/base/assert.hpp"

namespace kvault::eval {
namespace {

constexpr double kRange = 8.0;
constexpr int kRounds = 4000;
constexpr std::size_t kGrid = 16001;

/// Running sums of a density, of x times it and of x^2 times it, on a grid over +-kRange.
struct Moments {
  std::vector<double> sum0 = std::vector<double>(kGrid);
  std::vector<double> sum1 = std::vector<double>(kGrid);
  std::vector<double> sum2 = std::vector<double>(kGrid);

  explicit Moments(const std::function<double(double)>& density) {
    constexpr double kStep = 2 * kRange / (kGrid - 1);
    for (std::size_t i = 1; i < kGrid; ++i) {
      const double x = -kRange + kStep * (static_cast<double>(i) - 0.5);
      const double weight = density(x) * kStep;
      sum0[i] = sum0[i - 1] + weight;
      sum1[i] = sum1[i - 1] + weight * x;
      sum2[i] = sum2[i - 1] + weight * x * x;
    }
  }
  /// A running sum at x, linear between grid points.
  static double at(const std::vector<double>& sum, double x) {
    if (x <= -kRange) return sum.front();
    if (x >= kRange) return sum.back();
    const double place = (x + kRange) * (kGrid - 1) / (2 * kRange);
    const auto low = static_cast<std::size_t>(place);
    if (low + 1 >= kGrid) return sum.back();
    return sum[low] + (place - static_cast<double>(low)) * (sum[low + 1] - sum[low]);
  }
};

LloydMax lloyd_max_of(std::uint32_t bits, const std::function<double(double)>& density) {
  KVAULT_ASSERT(bits >= 1 && bits <= 8);
  const Moments moments(density);
  const std::size_t n = std::size_t{1} << bits;
  LloydMax best;
  for (std::size_t i = 0; i < n; ++i) {
    best.values.push_back(normal_quantile((static_cast<double>(i) + 0.5) / static_cast<double>(n)));
  }
  for (int round = 0; round < kRounds; ++round) {
    double low = -kRange;
    double moved = 0;
    best.mse = 0;
    const std::vector<double> old = best.values;
    for (std::size_t i = 0; i < n; ++i) {
      const double high = i + 1 < n ? (old[i] + old[i + 1]) / 2 : kRange;
      const double share = Moments::at(moments.sum0, high) - Moments::at(moments.sum0, low);
      const double first = Moments::at(moments.sum1, high) - Moments::at(moments.sum1, low);
      const double second = Moments::at(moments.sum2, high) - Moments::at(moments.sum2, low);
      if (share > 0) best.values[i] = first / share;
      best.mse += second - 2 * best.values[i] * first + best.values[i] * best.values[i] * share;
      moved = std::max(moved, std::abs(best.values[i] - old[i]));
      low = high;
    }
    if (moved < 1e-8) break;
  }
  best.mse /= moments.sum2.back();
  return best;
}

}  // namespace

double normal_share(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

double normal_quantile(double p) {
  KVAULT_ASSERT(p > 0 && p < 1);
  double low = -40;
  double high = 40;
  for (int i = 0; i < 80; ++i) {
    const double middle = (low + high) / 2;
    (normal_share(middle) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

LloydMax lloyd_max(std::uint32_t bits) {
  return lloyd_max_of(
      bits, [](double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi); });
}

LloydMax lloyd_max_within(std::uint32_t bits, double limit) {
  return lloyd_max_of(bits, [limit](double x) {
    return std::abs(x) > limit ? 0.0 : std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
  });
}

LloydMax lloyd_max_on_sphere(std::uint32_t bits, std::uint32_t dim) {
  KVAULT_ASSERT(dim >= 3);
  const double d = dim;
  const double log_factor =
      std::lgamma(d / 2) - std::lgamma((d - 1) / 2) - 0.5 * std::log(std::numbers::pi * d);
  return lloyd_max_of(bits, [d, log_factor](double x) {
    const double inside = 1 - x * x / d;
    return inside <= 0 ? 0.0 : std::exp(log_factor + (d - 3) / 2 * std::log(inside));
  });
}

}  // namespace kvault::eval
