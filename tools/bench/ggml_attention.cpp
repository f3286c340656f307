#include "tools/bench/ggml_attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/base/half.hpp"

namespace kvault::tools {
namespace {

/// Plain attention over the first of some layers of f16.
class PlainAttention {
 public:
  explicit PlainAttention(const GgmlLayers& layers)
      : layers_(layers), spec_(layers.spec()), shape_(layers.spec().shape) {}

  /// The relative L2 error of the output of one query and head.
  double error(std::uint32_t query, std::uint32_t head) const {
    const std::vector<double> exact = attend(query, head);
    double difference = 0;
    double norm = 0;
    for (std::uint32_t i = 0; i < shape_.head_dim; ++i) {
      const std::size_t at = (std::size_t{query} * shape_.n_head + head) * shape_.head_dim + i;
      difference += std::pow(static_cast<double>(layers_.out()[at]) - exact[i], 2);
      norm += exact[i] * exact[i];
    }
    const double error = std::sqrt(difference / norm);
    return std::isnan(error) ? HUGE_VAL : error;
  }

 private:
  double entry(std::span<const std::byte> rows, std::uint32_t head, std::uint64_t token,
               std::uint32_t i) const {
    const std::uint64_t row = spec_.layout == GgmlLayout::cache ? token * shape_.n_kv_head + head
                                                                : head * shape_.n_token + token;
    Half value;
    std::memcpy(&value, rows.data() + (row * shape_.head_dim + i) * sizeof value, sizeof value);
    return static_cast<double>(to_float(value));
  }

  std::vector<double> attend(std::uint32_t query, std::uint32_t head) const {
    const std::uint32_t kv_head = head / (shape_.n_head / shape_.n_kv_head);
    const std::uint64_t n_visible =
        spec_.n_q > 1 ? shape_.n_token - spec_.n_q + query + 1 : shape_.n_token;
    std::vector<double> out(shape_.head_dim);
    double sum = 0;
    for (std::uint64_t token = 0; token < n_visible; ++token) {
      double logit = 0;
      for (std::uint32_t i = 0; i < shape_.head_dim; ++i) {
        const std::size_t at = (std::size_t{head} * spec_.n_q + query) * shape_.head_dim + i;
        logit += static_cast<double>(layers_.q()[at]) * entry(layers_.keys(), kv_head, token, i);
      }
      const double weight = std::exp(logit / std::sqrt(static_cast<double>(shape_.head_dim)));
      sum += weight;
      for (std::uint32_t i = 0; i < shape_.head_dim; ++i) {
        out[i] += weight * entry(layers_.values(), kv_head, token, i);
      }
    }
    for (double& value : out) value /= sum;
    return out;
  }

  const GgmlLayers& layers_;
  GgmlSpec spec_;
  BenchShape shape_;
};

}  // namespace

Result<std::unique_ptr<GgmlAttention>> GgmlAttention::create(const GgmlPeer& peer,
                                                             const GgmlLayers& layers,
                                                             std::uint32_t n_thread) {
  std::unique_ptr<GgmlAttention> attention(new GgmlAttention(peer, layers));
  attention->backend_.reset(peer.api().backend_dev_init(peer.device(), nullptr));
  if (!attention->backend_) return fail(Errc::out_of_memory, "ggml has no memory for a backend");
  peer.api().set_n_threads(attention->backend_.get(), static_cast<int>(n_thread));
  return attention;
}

Result<double> GgmlAttention::visit_us() {
  GgmlGraph* const graph = layers_.graphs()[next_graph_];
  next_graph_ = (next_graph_ + 1) % layers_.graphs().size();
  const BenchClock::time_point start = BenchClock::now();
  const int status = api_.backend_graph_compute(backend_.get(), graph);
  const double time_us = us_since(start);
  if (status != kGgmlStatusSuccess) {
    return fail(Errc::unsupported, message("ggml does not compute the graph: status ", status));
  }
  return time_us / layers_.n_graph_layer();
}

Result<double> ggml_attention_error(const GgmlPeer& peer) {
  double worst = 0;
  for (const GgmlLayout layout : {GgmlLayout::cache, GgmlLayout::head}) {
    for (const std::uint32_t n_q : {1U, 3U}) {
      const BenchShape shape = {.n_head = 4, .n_kv_head = 2, .head_dim = 64, .n_token = 256};
      KVAULT_TRY(const GgmlLayers layers,
                 GgmlLayers::create(peer, {GgmlType::f16, layout, shape, n_q, 1}));
      KVAULT_TRY(const std::unique_ptr<GgmlAttention> attention,
                 GgmlAttention::create(peer, layers, 1));
      KVAULT_CHECK(attention->visit_us());
      const PlainAttention plain(layers);
      for (std::uint32_t query = 0; query < n_q; ++query) {
        for (std::uint32_t head = 0; head < shape.n_head; ++head) {
          worst = std::max(worst, plain.error(query, head));
        }
      }
    }
  }
  return worst;
}

}  // namespace kvault::tools
