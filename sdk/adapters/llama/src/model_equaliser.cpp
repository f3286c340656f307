#include <algorithm>
#include <array>
#include <cmath>

#include "core/codec/equaliser.hpp"
#include "sdk/adapters/llama/src/ggml_type.hpp"
#include "sdk/adapters/llama/src/model.hpp"

// How keys are equalised, from the weights: a channel's energy is the squared norm of its row of
// the projection, times the norm's weights before it, for inputs of unit variance.

namespace kvault::llama {
namespace {

constexpr std::uint64_t kWeightsMax = std::uint64_t{1} << 28U;

/// Architectures that turn neighbouring channels (2i, 2i + 1); all others turn (i, i + n / 2).
/// (llama.cpp v0.5.0, src/llama-model.cpp, llama_model_rope_type)
constexpr std::array<std::string_view, 14> kNeighbours = {
    "llama",     "deci",    "baichuan", "starcoder", "internlm2", "minicpm", "xverse",
    "command-r", "cohere2", "olmo",     "deepseek2", "chatglm",   "granite", "granitehybrid"};

/// Every n-th layer is of full attention, the others slide. (llama.cpp v0.5.0, src/models)
struct Pattern {
  std::string_view architecture;
  std::uint32_t period;
};
constexpr std::array<Pattern, 5> kPatterns = {
    {{"gemma2", 2}, {"gemma3", 6}, {"gpt-oss", 2}, {"cohere2", 4}, {"exaone4", 4}}};

/// [n_group][dim] to [dim] of group `first` to `first + n`, averaged.
std::vector<double> mean_of(const std::vector<double>& rows, std::size_t first, std::size_t n,
                            std::size_t dim) {
  std::vector<double> mean(dim);
  for (std::size_t i = first * dim; i < (first + n) * dim; ++i) {
    mean[i % dim] += rows[i] / static_cast<double>(n);
  }
  return mean;
}

}  // namespace

/// The layers of full attention, in order; empty where the pattern is not known.
std::vector<std::uint32_t> Model::full_layers(bool has_sliding) const {
  const auto* const pattern =
      std::find_if(kPatterns.begin(), kPatterns.end(),
                   [this](const Pattern& p) { return p.architecture == architecture_; });
  std::vector<std::uint32_t> layers;
  if (has_sliding && pattern == kPatterns.end()) return layers;
  for (std::uint32_t layer = 0; layer < n_layer_; ++layer) {
    if (has_sliding && layer % pattern->period != pattern->period - 1) continue;
    if (file_.find_tensor(message("blk.", layer, ".attn_k.weight")) != nullptr) {
      layers.push_back(layer);
    }
  }
  return layers;
}

std::vector<Half> Model::equaliser(std::span<const std::uint32_t> n_kv_head,
                                   bool has_sliding) const {
  const std::vector<std::uint32_t> layers = full_layers(has_sliding);
  if (layers.empty() || layers.size() != n_kv_head.size()) return {};
  std::vector<Half> result;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::optional<ChannelEnergies> found = energies(layers[i], n_kv_head[i]);
    if (!found) return {};
    for (std::size_t head = 0; head < n_kv_head[i]; ++head) {
      const std::size_t first = head * key_head_dim_;
      const std::vector<Half> learned =
          learn_equaliser(std::span(found->query).subspan(first, key_head_dim_),
                          std::span(found->key).subspan(first, key_head_dim_));
      result.insert(result.end(), learned.begin(), learned.end());
    }
  }
  return result;
}

std::optional<ChannelEnergies> Model::energies(std::uint32_t layer, std::uint32_t n_kv_head) const {
  const auto queries = row_energies(layer, "attn_q");
  const auto keys = row_energies(layer, "attn_k");
  const std::size_t dim = key_head_dim_;
  if (!queries || !keys || dim == 0 || keys->size() != n_kv_head * dim) return {};
  const std::size_t n_query_head = queries->size() / dim;
  if (queries->size() % dim != 0 || n_query_head % n_kv_head != 0) return {};
  const std::size_t group = n_query_head / n_kv_head;
  ChannelEnergies result;
  for (std::size_t head = 0; head < n_kv_head; ++head) {
    std::vector<double> query = mean_of(*queries, head * group, group, dim);
    std::vector<double> key = mean_of(*keys, head, 1, dim);
    turn(query);
    turn(key);
    result.query.insert(result.query.end(), query.begin(), query.end());
    result.key.insert(result.key.end(), key.begin(), key.end());
  }
  return result;
}

/// Squared norm of each row of W diag(w), plus the bias squared; or, where the model normalises
/// heads, the square of that norm's weights.
std::optional<std::vector<double>> Model::row_energies(std::uint32_t layer,
                                                       const char* side) const {
  const std::string prefix = message("blk.", layer, ".");
  const GgufTensor* const weights = file_.find_tensor(prefix + side + ".weight");
  const GgufTensor* const input_norm = file_.find_tensor(prefix + "attn_norm.weight");
  if (weights == nullptr || weights->dims.size() != 2) return {};
  const std::size_t n_column = weights->dims[0];
  std::vector<double> energies(weights->dims[1]);
  if (const GgufTensor* norm = file_.find_tensor(prefix + side + "_norm.weight")) {
    const auto values = read_floats(*norm);
    if (!values || values->empty() || energies.size() % values->size() != 0) return {};
    for (std::size_t i = 0; i < energies.size(); ++i) {
      const auto value = static_cast<double>((*values)[i % values->size()]);
      energies[i] = value * value;
    }
    return energies;
  }
  const auto matrix = read_floats(*weights);
  if (!matrix) return {};
  std::vector<float> scale(n_column, 1.0F);
  if (input_norm != nullptr && input_norm->dims[0] == n_column) {
    const auto values = read_floats(*input_norm);
    if (values) scale = *values;
  }
  for (std::size_t row = 0; row < energies.size(); ++row) {
    for (std::size_t i = 0; i < n_column; ++i) {
      const auto value = static_cast<double>((*matrix)[row * n_column + i] * scale[i]);
      energies[row] += value * value;
    }
  }
  if (const GgufTensor* bias = file_.find_tensor(prefix + side + ".bias")) {
    const auto values = read_floats(*bias);
    for (std::size_t i = 0; values && i < std::min(values->size(), energies.size()); ++i) {
      energies[i] += static_cast<double>((*values)[i] * (*values)[i]);
    }
  }
  return energies;
}

/// Nothing for a type whose blocks are not read here.
std::optional<std::vector<float>> Model::read_floats(const GgufTensor& tensor) const {
  const Result<GgmlType> type = find_ggml_type(static_cast<std::int32_t>(tensor.type));
  std::uint64_t n = 1;
  for (const std::uint64_t dim : tensor.dims) n = n > kWeightsMax ? n : n * dim;
  if (!type || !type->can_convert || n > kWeightsMax || n % type->block_elements != 0) return {};
  const auto bytes = file_.read(tensor.offset_bytes, type->row_bytes(n));
  if (!bytes) return {};
  std::vector<float> values(n);
  decode_row(*type, *bytes, values);
  return values;
}

/// Channels that rope turns into each other share their energy.
void Model::turn(std::vector<double>& energies) const {
  const bool is_neighbours =
      std::find(kNeighbours.begin(), kNeighbours.end(), architecture_) != kNeighbours.end();
  const std::size_t dim = energies.size();
  const auto n =
      std::min<std::size_t>(dim, static_cast<std::size_t>(std::max<std::int64_t>(
                                     0, file_.number(architecture_ + ".rope.dimension_count")
                                            .value_or(static_cast<std::int64_t>(dim)))));
  for (std::size_t i = 0; i < n / 2; ++i) {
    const std::size_t a = is_neighbours ? 2 * i : i;
    const std::size_t b = is_neighbours ? 2 * i + 1 : i + n / 2;
    energies[a] = energies[b] = (energies[a] + energies[b]) / 2;
  }
}

}  // namespace kvault::llama
