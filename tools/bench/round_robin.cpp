#include "tools/bench/round_robin.hpp"

#include <algorithm>

#include "tools/cli/progress_bar.hpp"

namespace kvault::tools {
namespace {

constexpr std::uint32_t kRoundsMin = 5;

/// How far a measurement is, in thousandths.
std::uint64_t progress(const RoundLimit& limit, std::size_t n_variant, double elapsed_s,
                       std::uint32_t n_round) {
  double part =
      static_cast<double>(n_round) / (limit.n_repetition > 0 ? limit.n_repetition : kRoundsMin);
  if (limit.n_repetition == 0 && limit.min_time_s > 0) {
    part = std::min(part, elapsed_s / (limit.min_time_s * static_cast<double>(n_variant)));
  }
  return static_cast<std::uint64_t>(1000 * std::min(part, 1.0));
}

}  // namespace

double Samples::median_us() const {
  if (times_us.empty()) return 0;
  std::vector<double> sorted = times_us;
  std::sort(sorted.begin(), sorted.end());
  const std::size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

double Samples::min_us() const {
  return times_us.empty() ? 0 : *std::min_element(times_us.begin(), times_us.end());
}

Result<std::vector<Samples>> measure_in_turn(std::span<Variant* const> variants,
                                             const RoundLimit& limit, const std::string& label) {
  for (Variant* const variant : variants) KVAULT_CHECK(variant->visit_us());
  std::vector<Samples> samples(variants.size());
  ProgressBar bar(label, 1000, true);
  const BenchClock::time_point start = BenchClock::now();
  std::uint64_t done = 0;
  for (std::uint32_t n_round = 0; done < 1000; ++n_round) {
    for (std::size_t i = 0; i < variants.size(); ++i) {
      KVAULT_TRY(const double time_us, variants[i]->visit_us());
      samples[i].times_us.push_back(time_us);
      bar.show(done);
    }
    done = progress(limit, variants.size(), us_since(start) * 1e-6, n_round + 1);
  }
  return samples;
}

}  // namespace kvault::tools
