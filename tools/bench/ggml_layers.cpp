#include "tools/bench/ggml_layers.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/base/half.hpp"
#include "tools/bench/random_block.hpp"

namespace kvault::tools {
namespace {

constexpr std::uint64_t kLayerMax = 1024;
constexpr std::uint64_t kMaskRowAlignment = 64;
/// Tensors of a layer: K, V, a view of each, the output.
constexpr std::size_t kLayerTensors = 5;

template <class T>
std::span<T> span_of(const GgmlApi& api, const GgmlTensor* tensor) {
  return {static_cast<T*>(api.get_data(tensor)), api.nbytes(tensor) / sizeof(T)};
}

}  // namespace

GgmlLayers::GgmlLayers(const GgmlPeer& peer, const GgmlSpec& spec)
    : api_(&peer.api()),
      spec_(spec),
      layer_size_bytes_(2 * spec.shape.n_token * spec.shape.n_kv_head *
                        peer.api().row_size(spec.type, spec.shape.head_dim)),
      context_(nullptr, {peer.api().free}),
      backend_(nullptr, {peer.api().backend_free}),
      buffer_(nullptr, {peer.api().backend_buffer_free}) {}

Result<GgmlLayers> GgmlLayers::create(const GgmlPeer& peer, const GgmlSpec& spec) {
  GgmlLayers layers(peer, spec);
  KVAULT_CHECK(layers.build(peer));
  return layers;
}

Result<> GgmlLayers::build(const GgmlPeer& peer) {
  const std::uint64_t n_layer = std::clamp<std::uint64_t>(
      (spec_.set_size_bytes + layer_size_bytes_ - 1) / layer_size_bytes_, 1, kLayerMax);
  const std::uint64_t n_graph = spec_.n_q > 1 ? n_layer : 1;
  const std::size_t n_tensor = n_layer * kLayerTensors + 2;
  const std::size_t n_graph_tensor = n_layer / n_graph * kLayerTensors + 2;
  const std::size_t context_bytes = n_tensor * api_->tensor_overhead() +
                                    n_graph * api_->graph_overhead_custom(n_graph_tensor, false);
  context_.reset(api_->init({context_bytes, nullptr, true}));
  backend_.reset(api_->backend_dev_init(peer.device(), nullptr));
  if (!context_ || !backend_) return fail(Errc::out_of_memory, "ggml has no memory for a graph");

  const BenchShape& shape = spec_.shape;
  for (std::uint64_t i = 0; i < n_graph; ++i) {
    graphs_.push_back(api_->new_graph_custom(context_.get(), n_graph_tensor, false));
  }
  GgmlTensor* const q =
      api_->new_tensor_3d(context_.get(), GgmlType::f32, shape.head_dim, spec_.n_q, shape.n_head);
  GgmlTensor* mask = nullptr;
  if (spec_.n_q > 1) {
    const std::uint64_t n_row =
        (spec_.n_q + kMaskRowAlignment - 1) / kMaskRowAlignment * kMaskRowAlignment;
    mask =
        api_->new_tensor_3d(context_.get(), GgmlType::f16, static_cast<std::int64_t>(shape.n_token),
                            static_cast<std::int64_t>(n_row), 1);
  }
  for (std::uint64_t i = 0; i < n_layer; ++i) {
    layers_.push_back(add_layer(q, mask));
    api_->build_forward_expand(graphs_[i % n_graph], layers_.back().out);
  }
  buffer_.reset(api_->backend_alloc_ctx_tensors(context_.get(), backend_.get()));
  if (!buffer_) {
    return fail(Errc::out_of_memory, message("ggml has no memory for ", n_layer, " layers of ",
                                             layer_size_bytes_, " bytes"));
  }
  fill(q, mask);
  return {};
}

GgmlTensor* GgmlLayers::view_rows(GgmlTensor* store) const {
  const BenchShape& shape = spec_.shape;
  const std::size_t row_bytes = api_->row_size(spec_.type, shape.head_dim);
  const bool by_token = spec_.layout == GgmlLayout::cache;
  return api_->view_3d(context_.get(), store, shape.head_dim,
                       static_cast<std::int64_t>(shape.n_token), shape.n_kv_head,
                       by_token ? row_bytes * shape.n_kv_head : row_bytes,
                       by_token ? row_bytes : row_bytes * shape.n_token, 0);
}

GgmlLayers::Layer GgmlLayers::add_layer(GgmlTensor* q, GgmlTensor* mask) {
  const BenchShape& shape = spec_.shape;
  const auto n_row = static_cast<std::int64_t>(shape.n_token * shape.n_kv_head);
  Layer layer;
  layer.key = api_->new_tensor_3d(context_.get(), spec_.type, shape.head_dim, n_row, 1);
  layer.value = api_->new_tensor_3d(context_.get(), spec_.type, shape.head_dim, n_row, 1);
  const float scale = 1 / std::sqrt(static_cast<float>(shape.head_dim));
  layer.out = api_->flash_attn_ext(context_.get(), q, view_rows(layer.key), view_rows(layer.value),
                                   mask, scale, 0, 0);
  api_->flash_attn_ext_set_prec(layer.out, kGgmlPrecisionF32);
  return layer;
}

void GgmlLayers::fill(GgmlTensor* q, GgmlTensor* mask) {
  const BenchShape& shape = spec_.shape;
  bytes_ = {static_cast<const std::byte*>(api_->backend_buffer_get_base(buffer_.get())),
            api_->backend_buffer_get_size(buffer_.get())};
  RandomBlocks random(shape.head_dim);
  for (float& entry : span_of<float>(*api_, q)) entry = to_float(random.normal());
  if (mask != nullptr) fill_mask(mask);
  std::vector<float> row(shape.head_dim);
  const std::size_t row_bytes = api_->row_size(spec_.type, shape.head_dim);
  for (GgmlTensor* const tensor : {layers_.front().key, layers_.front().value}) {
    const std::span<std::byte> rows = span_of<std::byte>(*api_, tensor);
    for (std::size_t at = 0; at < rows.size(); at += row_bytes) {
      for (float& entry : row) entry = to_float(random.normal());
      api_->quantize_chunk(spec_.type, row.data(), rows.data() + at, 0, 1, shape.head_dim, nullptr);
    }
  }
  for (std::size_t i = 1; i < layers_.size(); ++i) {  // equal bytes, but bytes of their own
    const auto copy = [&](GgmlTensor* target, GgmlTensor* source) {
      std::memcpy(api_->get_data(target), api_->get_data(source), api_->nbytes(source));
    };
    copy(layers_[i].key, layers_.front().key);
    copy(layers_[i].value, layers_.front().value);
  }
  keys_ = span_of<const std::byte>(*api_, layers_.front().key);
  values_ = span_of<const std::byte>(*api_, layers_.front().value);
  q_ = span_of<const float>(*api_, q);
  out_ = span_of<const float>(*api_, layers_.front().out);
}

void GgmlLayers::fill_mask(GgmlTensor* mask) {
  const std::uint64_t n_token = spec_.shape.n_token;
  const std::span<Half> entries = span_of<Half>(*api_, mask);
  constexpr Half kHidden{0xFC00};  // -infinity
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const std::uint64_t position = std::min(n_token - spec_.n_q + i / n_token, n_token - 1);
    entries[i] = i % n_token <= position ? Half{} : kHidden;
  }
}

}  // namespace kvault::tools
