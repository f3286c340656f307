#include "tools/eval/profile.hpp"

#include <cmath>
#include <cstddef>

#include "core/layout/scheme.hpp"
#include "tools/eval/matrix.hpp"

namespace kvault::eval {
namespace {

using Model = tools::FinewebModel;
constexpr std::size_t kDim = Model::kHeadDim;
constexpr std::size_t kGroup = Model::kHeads / Model::kKvHeads;

void add(std::vector<double>& sum, const Matrix& matrix, double weight) {
  sum.resize(matrix.n() * matrix.n());
  for (std::size_t i = 0; i < sum.size(); ++i) {
    sum[i] += weight * matrix.at(i / matrix.n(), i % matrix.n());
  }
}

double energy_of(std::span<const float> row) {
  double sum = 0;
  for (const float x : row) sum += double{x} * double{x};
  return sum;
}

/// W^T W of the columns of the output projection that read the group's heads.
std::vector<double> value_metric_of(const Model::AttentionWeights& weights, std::uint32_t kv_head) {
  constexpr std::size_t kIn = Model::kHeads * kDim;
  std::vector<double> metric(kDim * kDim);
  for (std::size_t out = 0; out < Model::kWidth; ++out) {
    const double gain = double{weights.attn_scale[out]} * double{weights.attn_scale[out]};
    for (std::size_t g = 0; g < kGroup; ++g) {
      const float* const row = &weights.proj[out * kIn + (kv_head * kGroup + g) * kDim];
      for (std::size_t i = 0; i < kDim; ++i) {
        for (std::size_t j = 0; j < kDim; ++j) {
          metric[i * kDim + j] += gain * double{row[i]} * double{row[j]};
        }
      }
    }
  }
  return metric;
}

void add_weights(const Model& model, std::uint32_t layer, std::uint32_t kv_head,
                 const Stress& stress, HeadProfile& profile) {
  const Model::AttentionWeights weights = model.attention_weights(layer);
  profile.value_metric = value_metric_of(weights, kv_head);
  profile.key_energy.resize(kDim);
  profile.query_energy.resize(kDim);
  for (std::size_t c = 0; c < kDim; ++c) {
    const double scale = stress.is_none() ? 1.0 : double{stress.scales[c]};
    const std::size_t key_row = kv_head * kDim + c;
    profile.key_energy[c] =
        scale * scale * energy_of(weights.k.subspan(key_row * Model::kWidth, Model::kWidth));
    for (std::size_t g = 0; g < kGroup; ++g) {
      const std::size_t head = kv_head * kGroup + g;
      const double gain = double{weights.q_gain[head]} / scale;
      const std::size_t row = head * kDim + c;
      profile.query_energy[c] +=
          gain * gain * energy_of(weights.q.subspan(row * Model::kWidth, Model::kWidth));
    }
  }
}

}  // namespace

Result<ModelProfile> profile_of(const Model& model, std::span<const std::uint32_t> text,
                                std::size_t n_context, const Stress& stress) {
  ModelProfile profile(std::size_t{Model::kLayers} * Model::kKvHeads);
  const double share =
      static_cast<double>(n_context) / static_cast<double>(text.size() / n_context * n_context);
  LabAttentionOptions options;
  options.stress = &stress;
  options.on_rows = [&profile, share](const HeadRows& keys, const HeadRows& values) {
    HeadProfile& head = profile[std::size_t{keys.layer} * Model::kKvHeads + keys.kv_head];
    add(head.key_covariance, second_moment(keys.rows, kDim, kPageTokens), share);
    add(head.query_moment, second_moment(keys.queries, kDim, 0), share);
    add(head.value_covariance, second_moment(values.rows, kDim, kPageTokens), share);
  };
  for (std::size_t first = 0; first + n_context <= text.size(); first += n_context) {
    LabAttention attention(model.layers(), options);
    KVAULT_CHECK(model.forward(text.subspan(first, n_context), attention, 0, {}));
  }
  for (std::uint32_t layer = 0; layer < Model::kLayers; ++layer) {
    for (std::uint32_t h = 0; h < Model::kKvHeads; ++h) {
      add_weights(model, layer, h, stress, profile[std::size_t{layer} * Model::kKvHeads + h]);
    }
  }
  return profile;
}

Result<double> value_norm_of(const Model& model, std::span<const std::uint32_t> text) {
  double energy = 0;
  double count = 0;
  LabAttentionOptions options;
  options.on_rows = [&energy, &count](const HeadRows&, const HeadRows& values) {
    energy += energy_of(values.rows);
    count += values.n_token;
  };
  LabAttention attention(model.layers(), options);
  KVAULT_CHECK(model.forward(text, attention, 0, {}));
  return count > 0 ? std::sqrt(energy / count) : 0.0;
}

}  // namespace kvault::eval
