#include "tools/eval/bootstrap.hpp"

#include <algorithm>
#include <vector>

#include "tools/model/random.hpp"
#include "tools/model/scores.hpp"

namespace kvault::eval {

Interval bootstrap(std::span<const double> values,
                   const std::function<double(std::span<const double>)>& statistic,
                   const BootstrapOptions& options) {
  if (values.empty()) return {};
  const std::size_t n_block = std::max<std::size_t>(options.n_block, 1);
  const std::size_t n_choice = (values.size() + n_block - 1) / n_block;
  tools::Random random(options.seed);
  std::vector<double> results;
  std::vector<double> drawn;
  for (std::uint32_t i = 0; i < options.n_resample; ++i) {
    drawn.clear();
    while (drawn.size() < values.size()) {
      const std::size_t first = random.below(n_choice) * n_block;
      const std::size_t n =
          std::min({n_block, values.size() - first, values.size() - drawn.size()});
      drawn.insert(drawn.end(), values.begin() + static_cast<std::ptrdiff_t>(first),
                   values.begin() + static_cast<std::ptrdiff_t>(first + n));
    }
    results.push_back(statistic(drawn));
  }
  return {.low = tools::quantile_of(results, 0.025), .high = tools::quantile_of(results, 0.975)};
}

}  // namespace kvault::eval
