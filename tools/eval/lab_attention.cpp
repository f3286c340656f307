#include "tools/eval/lab_attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/base/assert.hpp"
#include "core/base/half.hpp"
#include "core/layout/scheme.hpp"
#include "tools/model/matmul.hpp"

namespace kvault::eval {
namespace {

constexpr std::size_t kPage = kPageTokens;

/// Rows of one head out of [n_token][n_head][dim].
std::vector<float> head_rows(std::span<const float> rows, std::size_t n_head, std::size_t first,
                             std::size_t count, std::size_t dim) {
  const std::size_t n_token = rows.size() / (n_head * dim);
  std::vector<float> result(n_token * count * dim);
  for (std::size_t t = 0; t < n_token; ++t) {
    const float* const from = rows.data() + (t * n_head + first) * dim;
    std::copy_n(from, count * dim, result.data() + t * count * dim);
  }
  return result;
}

void round_to_half(std::span<float> rows) {
  for (float& x : rows) x = to_float(to_half(x));
}

/// Row r stands at position `first + r / group` and sees keys up to there; weights [n_row][n_key].
void causal_softmax(std::span<float> weights, std::size_t n_key, std::size_t first,
                    std::size_t group, float scale) {
  for (std::size_t r = 0; r < weights.size() / n_key; ++r) {
    float* const row = weights.data() + r * n_key;
    const std::size_t n_seen = first + r / group + 1;
    const float highest = *std::max_element(row, row + n_seen);
    float sum = 0;
    for (std::size_t t = 0; t < n_seen; ++t) {
      row[t] = std::exp(scale * (row[t] - highest));
      sum += row[t];
    }
    const float inverse = 1 / sum;
    for (std::size_t t = 0; t < n_seen; ++t) row[t] *= inverse;
    std::fill(row + n_seen, row + n_key, 0.0F);
  }
}

}  // namespace

double HeadError::relative() const { return energy > 0 ? std::sqrt(miss / energy) : 0.0; }

/// One kv head of a step.
struct LabAttention::Head {
  std::uint32_t layer = 0;
  std::uint32_t kv_head = 0;
  std::size_t dim = 0;
  std::size_t group = 0;
  std::size_t n_token = 0;
  std::vector<float> queries;  ///< [n_token][group][dim]
  std::vector<float> keys;     ///< [n_token][dim]
  std::vector<float> values;   ///< [n_token][dim]
};

LabAttention::LabAttention(std::span<const kvault_layer> layers, LabAttentionOptions options)
    : layers_(layers.begin(), layers.end()), options_(std::move(options)) {
  for (const kvault_layer& layer : layers_) {
    KVAULT_ASSERT(layer.key_head_dim == layer.value_head_dim);
    if (options_.measures_errors) errors_.emplace_back(layer.n_head);
  }
}

bool LabAttention::is_coded(std::uint32_t layer) const {
  if (options_.scheme == nullptr) return false;
  const std::uint32_t n_edge = options_.scheme->n_edge_layer;
  return layer >= n_edge && layer + n_edge < layers_.size();
}

void LabAttention::code_rows(const Head& head, std::vector<float>& keys,
                             std::vector<float>& values) const {
  keys = head.keys;
  values = head.values;
  const std::size_t place = head.layer * std::size_t{layers_[head.layer].n_kv_head} + head.kv_head;
  HeadRows rows{.side = Side::key,
                .layer = head.layer,
                .kv_head = head.kv_head,
                .head_dim = static_cast<std::uint32_t>(head.dim),
                .n_token = static_cast<std::uint32_t>(head.n_token),
                .rows = head.keys,
                .group = static_cast<std::uint32_t>(head.group),
                .queries = head.queries,
                .profile = options_.profile == nullptr ? nullptr : &(*options_.profile)[place]};
  HeadRows value_rows = rows;
  value_rows.side = Side::value;
  value_rows.rows = head.values;
  value_rows.queries = {};
  if (options_.on_rows) options_.on_rows(rows, value_rows);
  if (!is_coded(head.layer)) return;
  if (options_.scheme->key != nullptr) options_.scheme->key->code(rows, keys);
  if (options_.scheme->value != nullptr) options_.scheme->value->code(value_rows, values);
}

/// Page of queries by page of queries; what is raw for it replaces what is coded.
void LabAttention::attend_head(const Head& head, std::span<const float> keys,
                               std::span<const float> values, bool is_raw,
                               std::span<float> out) const {
  const std::size_t dim = head.dim;
  const bool is_mixed = !is_raw && options_.mode == Mode::live && options_.scheme != nullptr;
  const RawRows live = is_mixed ? options_.scheme->live : RawRows{.n_sink = 0, .n_tail_page = 0};
  const float scale = 1.0F / std::sqrt(static_cast<float>(dim));
  std::vector<float> seen_keys;
  std::vector<float> seen_values;
  std::vector<float> weights;
  const auto see = [dim](std::span<const float> rows, std::size_t from, std::size_t to,
                         std::vector<float>& seen) {
    std::copy(rows.begin() + static_cast<std::ptrdiff_t>(from * dim),
              rows.begin() + static_cast<std::ptrdiff_t>(to * dim),
              seen.begin() + static_cast<std::ptrdiff_t>(from * dim));
  };
  for (std::size_t first = 0; first < head.n_token; first += kPage) {
    const std::size_t n_key = std::min(head.n_token, first + kPage);
    const std::size_t page = first / kPage;
    const std::size_t sink_to = std::min<std::size_t>(live.n_sink, n_key);
    const std::size_t tail_from = live.n_tail_page == 0 ? n_key
                                  : page + 1 >= live.n_tail_page
                                      ? (page + 1 - live.n_tail_page) * kPage
                                      : 0;
    seen_keys.resize(n_key * dim);
    seen_values.resize(n_key * dim);
    see(keys, 0, n_key, seen_keys);
    see(values, 0, n_key, seen_values);
    see(head.keys, 0, sink_to, seen_keys);
    see(head.values, 0, sink_to, seen_values);
    see(head.keys, tail_from, n_key, seen_keys);
    see(head.values, tail_from, n_key, seen_values);
    const std::size_t n_row = (n_key - first) * head.group;
    const std::span<const float> queries =
        std::span(head.queries).subspan(first * head.group * dim, n_row * dim);
    weights.resize(n_row * n_key);
    tools::matmul({.n = n_row, .in = dim, .out = n_key}, queries, seen_keys, weights);
    causal_softmax(weights, n_key, first, head.group, scale);
    tools::matmul_untransposed({.n = n_row, .in = n_key, .out = dim}, weights, seen_values,
                               out.subspan(first * head.group * dim, n_row * dim));
  }
}

void LabAttention::note_errors(const Head& head, std::span<const float> coded) {
  std::vector<float> truth(coded.size());
  attend_head(head, head.keys, head.values, true, truth);
  const std::size_t row = head.group * head.dim;
  for (std::size_t i = options_.first_scored * row; i < coded.size(); ++i) {
    const std::size_t query_head = head.kv_head * head.group + i % row / head.dim;
    HeadError& error = errors_[head.layer][query_head];
    const double miss = double{coded[i]} - double{truth[i]};
    error.miss += miss * miss;
    error.energy += double{truth[i]} * double{truth[i]};
  }
}

Result<> LabAttention::append_attend(std::uint32_t layer, const tools::AttentionStep& step) {
  KVAULT_ASSERT(layer < layers_.size());
  if (n_token_ != 0) {
    return fail(Errc::unsupported,
                message("a second step, of ", step.n_token, " tokens behind ", n_token_));
  }
  const kvault_layer& spec = layers_[layer];
  const std::size_t group = spec.n_head / spec.n_kv_head;
  std::vector<float> keys;
  std::vector<float> values;
  std::vector<float> out(step.n_token * group * spec.key_head_dim);
  for (std::uint32_t h = 0; h < spec.n_kv_head; ++h) {
    const std::size_t dim = spec.key_head_dim;
    Head head{.layer = layer,
              .kv_head = h,
              .dim = dim,
              .group = group,
              .n_token = step.n_token,
              .queries = head_rows(step.q, spec.n_head, h * group, group, dim),
              .keys = head_rows(step.keys, spec.n_kv_head, h, 1, dim),
              .values = head_rows(step.values, spec.n_kv_head, h, 1, dim)};
    if (options_.stress != nullptr) {
      options_.stress->apply_to_keys(head.keys);
      options_.stress->apply_to_queries(head.queries);
    }
    if (options_.rounds_rows) {
      round_to_half(head.keys);
      round_to_half(head.values);
    }
    code_rows(head, keys, values);
    attend_head(head, keys, values, !is_coded(layer), out);
    if (options_.measures_errors) note_errors(head, out);
    for (std::size_t t = 0; t < step.n_token; ++t) {
      std::copy_n(&out[t * group * dim], group * dim,
                  &step.out[(t * spec.n_head + h * group) * dim]);
    }
  }
  if (layer + 1 == layers_.size()) n_token_ = step.n_token;
  return {};
}

}  // namespace kvault::eval
