#include "tools/model/scores.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/assert.hpp"

namespace kvault::tools {
namespace {

/// log of the sum of exponentials.
double log_sum(std::span<const float> logits) {
  const double highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - highest);
  return highest + std::log(sum);
}

}  // namespace

double nll_of(std::span<const float> logits, std::uint32_t target) {
  KVAULT_ASSERT(target < logits.size());
  return log_sum(logits) - logits[target];
}

double kl_divergence(std::span<const float> truth, std::span<const float> logits) {
  KVAULT_ASSERT(!truth.empty() && truth.size() == logits.size());
  const double truth_sum = log_sum(truth);
  const double logits_sum = log_sum(logits);
  double divergence = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    const double log_p = truth[i] - truth_sum;
    divergence += std::exp(log_p) * (log_p - (logits[i] - logits_sum));
  }
  return divergence;
}

double quantile_of(std::span<const double> values, double quantile) {
  KVAULT_ASSERT(quantile >= 0 && quantile <= 1);
  if (values.empty()) return 0;
  std::vector<double> sorted(values.begin(), values.end());
  const double rank = std::ceil(quantile * static_cast<double>(sorted.size()));
  const std::size_t at = rank < 1 ? 0 : static_cast<std::size_t>(rank) - 1;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(at), sorted.end());
  return sorted[at];
}

double mean_of(std::span<const double> values) {
  if (values.empty()) return 0;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

KlScore summarise_kl(std::span<const double> divergences) {
  return KlScore{.n = divergences.size(),
                 .mean = mean_of(divergences),
                 .p99 = quantile_of(divergences, 0.99),
                 .p999 = quantile_of(divergences, 0.999)};
}

}  // namespace kvault::tools
