#include "core/cache/key_equaliser.hpp"

#include <algorithm>
#include <cstring>

#include "core/base/assert.hpp"
#include "core/codec/equaliser.hpp"

namespace kvault {
namespace {

double element(std::span<const std::byte> row, RowType type, std::size_t i) {
  if (type == RowType::f32) {
    float value = 0;
    std::memcpy(&value, row.data() + i * 4, 4);
    return static_cast<double>(value);
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, row.data() + i * 2, 2);
  return static_cast<double>(type == RowType::f16 ? to_float(Half{bits})
                                                  : to_float(BFloat16{bits}));
}

/// Variance over tokens of every channel of one head. [head_dim]
std::vector<double> channel_variances(const RowsView& keys, std::uint32_t head) {
  std::vector<double> sums(keys.head_dim);
  std::vector<double> variances(keys.head_dim);
  for (std::uint32_t token = 0; token < keys.n_token; ++token) {
    const std::span<const std::byte> row = keys.row(token, head);
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += element(row, keys.type, i);
  }
  for (std::uint32_t token = 0; token < keys.n_token; ++token) {
    const std::span<const std::byte> row = keys.row(token, head);
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const double deviation = element(row, keys.type, i) - sums[i] / keys.n_token;
      variances[i] += deviation * deviation / keys.n_token;
    }
  }
  return variances;
}

}  // namespace

KeyEqualiser::KeyEqualiser(const LayerSpec& layer, Equalise mode, std::span<const Half> given)
    : n_head_(layer.n_head),
      n_kv_head_(layer.n_kv_head),
      head_dim_(layer.key_head_dim),
      is_fixed_(mode != Equalise::learn || layer.kind != LayerKind::full_attention ||
                layer.key_scheme == Scheme::raw),
      vector_(given.begin(), given.end()) {
  if (layer.key_scheme == Scheme::raw) vector_.clear();  // raw keys are never equalised
}

void KeyEqualiser::observe(std::uint64_t position, std::uint32_t n_q, std::span<const float> q) {
  if (!learns_from(position)) return;
  KVAULT_ASSERT(q.size() == std::size_t{n_q} * n_head_ * head_dim_);
  const std::uint32_t group = n_head_ / n_kv_head_;
  const std::size_t row = std::size_t{n_kv_head_} * head_dim_;
  for (std::uint32_t i = 0; i < n_q && n_observed_ < kLearnTokens; ++i) {
    if (position + i != n_observed_) continue;
    energy_.resize((n_observed_ + 1) * row);
    float* const energy = energy_.data() + n_observed_ * row;
    for (std::uint32_t head = 0; head < n_head_; ++head) {
      const float* const source = q.data() + (std::size_t{i} * n_head_ + head) * head_dim_;
      float* const target = energy + std::size_t{head / group} * head_dim_;
      for (std::uint32_t c = 0; c < head_dim_; ++c) target[c] += source[c] * source[c];
    }
    ++n_observed_;
  }
}

void KeyEqualiser::truncate(std::uint64_t n_token) {
  if (is_fixed_ || n_token >= n_observed_) return;
  n_observed_ = n_token;
  energy_.resize(n_observed_ * n_kv_head_ * head_dim_);
}

void KeyEqualiser::learn(const RowsView& keys) {
  KVAULT_ASSERT(!is_fixed_ && keys.n_head == n_kv_head_ && keys.head_dim == head_dim_);
  is_fixed_ = true;
  if (n_observed_ == 0) {  // no query was ever seen: unknown, so all ones
    vector_.clear();
    return;
  }
  vector_.clear();
  for (std::uint32_t head = 0; head < n_kv_head_; ++head) {
    std::vector<double> q_energy(head_dim_);
    for (std::uint64_t token = 0; token < n_observed_; ++token) {
      const float* const row = energy_.data() + (token * n_kv_head_ + head) * head_dim_;
      for (std::uint32_t c = 0; c < head_dim_; ++c) q_energy[c] += static_cast<double>(row[c]);
    }
    const double n_sample = static_cast<double>(n_observed_) * (n_head_ / n_kv_head_);
    for (double& energy : q_energy) energy /= n_sample;
    const std::vector<Half> learned = learn_equaliser(q_energy, channel_variances(keys, head));
    vector_.insert(vector_.end(), learned.begin(), learned.end());
  }
  energy_.clear();
  n_observed_ = 0;
}

void KeyEqualiser::fix(std::span<const Half> vector) {
  KVAULT_ASSERT(vector.empty() || vector.size() == std::size_t{n_kv_head_} * head_dim_);
  vector_.assign(vector.begin(), vector.end());
  is_fixed_ = true;
  energy_.clear();
  n_observed_ = 0;
}

void KeyEqualiser::restore_energy(std::span<const float> energy) {
  const std::size_t row = std::size_t{n_kv_head_} * head_dim_;
  KVAULT_ASSERT(!is_fixed_ && energy.size() % row == 0);
  energy_.assign(energy.begin(), energy.end());
  n_observed_ = energy.size() / row;
}

}  // namespace kvault
