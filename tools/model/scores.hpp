#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kvault::tools {

/// -log softmax(logits)[target], nats. pre: target < logits.size()
double nll_of(std::span<const float> logits, std::uint32_t target);

/// KL(softmax(truth) || softmax(logits)), nats, >= 0 but for rounding. Finite for finite logits.
double kl_divergence(std::span<const float> truth, std::span<const float> logits);

/// The value that a share `quantile` of all values does not exceed (nearest rank); 0 of none.
double quantile_of(std::span<const double> values, double quantile);
/// 0 of none.
double mean_of(std::span<const double> values);

/// How far a run's next-token distributions are from a reference's, by position.
struct KlScore {
  std::size_t n = 0;
  double mean = 0;
  double p99 = 0;
  double p999 = 0;
};
KlScore summarise_kl(std::span<const double> divergences);

/// How many of the questions asked were answered right.
struct RecallScore {
  std::uint64_t n_right = 0;
  std::uint64_t n_asked = 0;
  void add(bool is_right) {
    n_right += is_right ? 1 : 0;
    ++n_asked;
  }
  double share() const {
    return n_asked == 0 ? 0.0 : static_cast<double>(n_right) / static_cast<double>(n_asked);
  }
};

}  // namespace kvault::tools
