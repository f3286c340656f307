#include "tools/model/plain_attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/base/assert.hpp"

namespace kvault::tools {
namespace {

float dot(const float* a, const float* b, std::size_t n) {
  float sum[8] = {};
  for (std::size_t i = 0; i < n; ++i) sum[i % 8] += a[i] * b[i];
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

/// One query over n_key rows that lie `stride` floats apart; out is zeros on entry.
struct PlainRow {
  const float* q;
  const float* keys;
  const float* values;
  std::size_t n_key;
  std::size_t key_stride;
  std::size_t value_stride;
};

void attend_row(const PlainRow& row, std::size_t key_dim, std::span<float> out) {
  std::vector<float> weights(row.n_key);
  const float scale = 1.0F / std::sqrt(static_cast<float>(key_dim));
  for (std::size_t t = 0; t < row.n_key; ++t) {
    weights[t] = scale * dot(row.q, row.keys + t * row.key_stride, key_dim);
  }
  const float highest = *std::max_element(weights.begin(), weights.end());
  float sum = 0;
  for (float& weight : weights) {
    weight = std::exp(weight - highest);
    sum += weight;
  }
  for (std::size_t t = 0; t < row.n_key; ++t) {
    const float weight = weights[t] / sum;
    if (weight < 1e-12F) continue;
    const float* value = row.values + t * row.value_stride;
    for (std::size_t i = 0; i < out.size(); ++i) out[i] += weight * value[i];
  }
}

}  // namespace

PlainAttention::PlainAttention(std::span<const kvault_layer> layers) {
  for (const kvault_layer& layer : layers)
    layers_.push_back(Rows{.spec = layer, .n_token = 0, .keys = {}, .values = {}});
}

std::uint64_t PlainAttention::n_token() const {
  std::uint64_t least = layers_.empty() ? 0 : layers_.front().n_token;
  for (const Rows& rows : layers_) least = std::min(least, rows.n_token);
  return least;
}

Result<> PlainAttention::append_attend(std::uint32_t layer, const AttentionStep& step) {
  KVAULT_ASSERT(layer < layers_.size());
  Rows& rows = layers_[layer];
  const kvault_layer& spec = rows.spec;
  rows.keys.insert(rows.keys.end(), step.keys.begin(), step.keys.end());
  rows.values.insert(rows.values.end(), step.values.begin(), step.values.end());
  const std::uint32_t group = spec.n_head / spec.n_kv_head;
  std::fill(step.out.begin(), step.out.end(), 0.0F);
  for (std::uint32_t i = 0; i < step.n_token; ++i) {
    for (std::uint32_t h = 0; h < spec.n_head; ++h) {
      const std::size_t row = std::size_t{i} * spec.n_head + h;
      const PlainRow one{.q = step.q.data() + row * spec.key_head_dim,
                         .keys = rows.keys.data() + h / group * spec.key_head_dim,
                         .values = rows.values.data() + h / group * spec.value_head_dim,
                         .n_key = rows.n_token + i + 1,
                         .key_stride = std::size_t{spec.n_kv_head} * spec.key_head_dim,
                         .value_stride = std::size_t{spec.n_kv_head} * spec.value_head_dim};
      attend_row(one, spec.key_head_dim,
                 step.out.subspan(row * spec.value_head_dim, spec.value_head_dim));
    }
  }
  rows.n_token += step.n_token;
  return {};
}

}  // namespace kvault::tools
