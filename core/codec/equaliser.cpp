#include "core/codec/equaliser.hpp"

#include <algorithm>
#include <cmath>

#include "core/base/assert.hpp"

namespace kvault {
namespace {

constexpr double kClamp = 64;

}  // namespace

std::vector<Half> learn_equaliser(std::span<const double> q_energy,
                                  std::span<const double> key_variance) {
  KVAULT_ASSERT(q_energy.size() == key_variance.size());
  const std::size_t head_dim = q_energy.size();
  const auto is_known = [&](std::size_t i) { return q_energy[i] > 0 && key_variance[i] > 0; };
  double log_sum = 0;
  std::size_t n_known = 0;
  for (std::size_t i = 0; i < head_dim; ++i) {
    if (!is_known(i)) continue;
    log_sum += 0.25 * (std::log(q_energy[i]) - std::log(key_variance[i]));
    ++n_known;
  }
  const double log_mean = n_known > 0 ? log_sum / static_cast<double>(n_known) : 0;
  std::vector<Half> equaliser(head_dim, to_half(1.0F));
  for (std::size_t i = 0; i < head_dim; ++i) {
    if (!is_known(i)) continue;
    const double exponent = 0.25 * (std::log(q_energy[i]) - std::log(key_variance[i]));
    const double factor = std::clamp(std::exp(exponent - log_mean), 1 / kClamp, kClamp);
    equaliser[i] = to_half(static_cast<float>(factor));
  }
  return equaliser;
}

bool is_valid_equaliser(std::span<const Half> equaliser) {
  return std::all_of(equaliser.begin(), equaliser.end(), [](Half entry) {
    const float value = to_float(entry);
    return value >= kHalfMinNormal && value <= kHalfMax;
  });
}

}  // namespace kvault
