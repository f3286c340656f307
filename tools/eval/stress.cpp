#include "tools/eval/stress.hpp"

#include <array>
#include <cmath>
#include <cstddef>

namespace kvault::eval {
namespace {

struct Level {
  double scale;
  double offset;           ///< of each of the four channels, or
  double ratio_to_values;  ///< the length of all four together over a value's
};
constexpr std::array<Level, Stress::kLevelMax + 1> kLevels = {
    {{1, 0, 0}, {5, 4, 0}, {8, 32, 0}, {16, 0, 50}, {16, 0, 180}}};

}  // namespace

Result<Stress> Stress::at(std::uint32_t level, std::uint32_t head_dim, double value_norm) {
  if (level > kLevelMax || head_dim < 32 || head_dim % 2 != 0) {
    return fail(Errc::invalid_argument, message("stress level ", level, " of head_dim ", head_dim,
                                                "; there are levels 0 to ", kLevelMax));
  }
  Stress stress;
  if (level == 0) return stress;
  const std::uint32_t half = head_dim / 2;
  const auto [scale, offset, ratio] = kLevels[level];
  stress.scales.assign(head_dim, 1.0F);
  stress.offsets.assign(head_dim, 0.0F);
  for (const std::uint32_t i : {half / 8, half * 3 / 8, half * 5 / 8}) {
    stress.scales[i] = static_cast<float>(scale);
    stress.scales[i + half] = static_cast<float>(scale);
  }
  // The slowest pairs, where a bias of the weights would hardly turn with the position.
  const double each = offset > 0 ? offset : ratio * value_norm / 2;
  const std::uint32_t channels[] = {half - 1, half - 3, head_dim - 1, head_dim - 3};
  double sign = 1;
  for (const std::uint32_t c : channels) {
    stress.offsets[c] = static_cast<float>(sign * each);
    sign = -sign;
  }
  return stress;
}

void Stress::apply_to_keys(std::span<float> keys) const {
  if (is_none()) return;
  const std::size_t dim = scales.size();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    keys[i] = keys[i] * scales[i % dim] + offsets[i % dim];
  }
}

void Stress::apply_to_queries(std::span<float> queries) const {
  if (is_none()) return;
  const std::size_t dim = scales.size();
  for (std::size_t i = 0; i < queries.size(); ++i) queries[i] /= scales[i % dim];
}

}  // namespace kvault::eval
