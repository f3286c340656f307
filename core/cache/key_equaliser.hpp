#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/base/half.hpp"
#include "core/cache/cache_options.hpp"
#include "core/cache/rows.hpp"

namespace kvault {

/// The equaliser of one layer: being learned, or fixed for the session's life.
class KeyEqualiser {
 public:
  KeyEqualiser(const LayerSpec& layer, Equalise mode, std::span<const Half> given);

  bool is_fixed() const { return is_fixed_; }
  /// [n_kv_head, key_head_dim], or empty: all ones. Meaningful once fixed.
  std::span<const Half> vector() const { return vector_; }

  /// Whether observe() from this position on would take note of any query.
  bool learns_from(std::uint64_t position) const {
    return !is_fixed_ && position <= n_observed_ && n_observed_ < kLearnTokens;
  }
  /// Takes note of the queries [n_q, n_head, head_dim] of tokens from `position` on. Only the first
  /// kLearnTokens count, each once and in order.
  void observe(std::uint64_t position, std::uint32_t n_q, std::span<const float> q);
  /// Forgets what was learned from tokens >= n_token, where it is not fixed yet.
  void truncate(std::uint64_t n_token);
  /// Fixes the vector: `keys` [kLearnTokens, n_kv_head, head_dim] are the first keys.
  void learn(const RowsView& keys);
  /// Fixes a stored vector.
  void fix(std::span<const Half> vector);

  /// Query energy per token, [n_observed, n_kv_head, head_dim]: sum over the group of q^2.
  std::span<const float> energy() const { return energy_; }
  std::uint64_t n_observed() const { return n_observed_; }
  /// pre: is not fixed, energy.size() is whole tokens
  void restore_energy(std::span<const float> energy);

 private:
  std::uint32_t n_head_;
  std::uint32_t n_kv_head_;
  std::uint32_t head_dim_;
  bool is_fixed_;
  std::uint64_t n_observed_ = 0;
  std::vector<float> energy_;
  std::vector<Half> vector_;
};

}  // namespace kvault
