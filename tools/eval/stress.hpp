#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/result.hpp"

namespace kvault::eval {

/// A transform of a model's keys and queries that leaves every attention weight as it is: key
/// channel c becomes scales[c] * k + offsets[c], query channel c is divided by scales[c]. Both
/// channels of a RoPE pair share a scale, so the model's weights could carry it; the offset adds
/// the same number to all of a query's logits. Harder levels are nearer to models whose keys have
/// large biases (Qwen2.5: the norm of keys is 50 to 180 times that of values).
struct Stress {
  static constexpr std::uint32_t kLevelMax = 4;

  std::vector<float> scales;   ///< [head_dim]; empty: none
  std::vector<float> offsets;  ///< [head_dim]

  /// 0: nothing. 1: three pairs times 5, 4 on four channels. 2: times 8, 32. 3: times 16, keys 50
  /// times as long as values of length `value_norm`. 4: times 16, 180 times.
  /// Errc::invalid_argument for another level or an odd head_dim below 32.
  static Result<Stress> at(std::uint32_t level, std::uint32_t head_dim, double value_norm);

  bool is_none() const { return scales.empty(); }
  /// Rows of keys [n][head_dim].
  void apply_to_keys(std::span<float> keys) const;
  /// Rows of queries [n][head_dim].
  void apply_to_queries(std::span<float> queries) const;
};

}  // namespace kvault::eval
