#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "tools/bench/ggml_peer.hpp"
#include "tools/bench/shape.hpp"

namespace kvault::tools {

/// How K and V lie in a peer's memory.
enum class GgmlLayout : std::uint8_t {
  cache,  ///< llama.cpp's own: a token's heads side by side
  head,   ///< a head's tokens side by side
};

constexpr std::string_view name_of(GgmlLayout layout) {
  return layout == GgmlLayout::cache ? "cache" : "head";
}

/// What to build: attention of n_q queries at the end of the context, causal where n_q > 1.
struct GgmlSpec {
  GgmlType type = GgmlType::f16;
  GgmlLayout layout = GgmlLayout::cache;
  BenchShape shape;
  std::uint32_t n_q = 1;
  std::uint64_t set_size_bytes = 0;
};

/// As many layers as fill the set, each with K and V of its own and one ggml_flash_attn_ext node.
/// One query: a single graph of all layers, as llama.cpp computes a token. More: a graph per layer,
/// each long enough by itself. The peer must outlive it.
class GgmlLayers {
 public:
  static Result<GgmlLayers> create(const GgmlPeer& peer, const GgmlSpec& spec);

  const GgmlSpec& spec() const { return spec_; }
  std::span<GgmlGraph* const> graphs() const { return graphs_; }
  std::uint32_t n_graph_layer() const {
    return n_layer() / static_cast<std::uint32_t>(graphs_.size());
  }
  std::uint32_t n_layer() const { return static_cast<std::uint32_t>(layers_.size()); }
  /// Stored bytes of K and V of one layer.
  std::uint64_t layer_size_bytes() const { return layer_size_bytes_; }
  /// All the memory of the layers, K and V nearly all of it.
  std::span<const std::byte> bytes() const { return bytes_; }
  /// Of the first layer: K and V as stored, the queries [n_head, n_q, head_dim] and the output
  /// [n_q, n_head, head_dim].
  std::span<const std::byte> keys() const { return keys_; }
  std::span<const std::byte> values() const { return values_; }
  std::span<const float> q() const { return q_; }
  std::span<const float> out() const { return out_; }

 private:
  struct Layer {
    GgmlTensor* key = nullptr;
    GgmlTensor* value = nullptr;
    GgmlTensor* out = nullptr;
  };
  explicit GgmlLayers(const GgmlPeer& peer, const GgmlSpec& spec);
  Result<> build(const GgmlPeer& peer);
  GgmlTensor* view_rows(GgmlTensor* store) const;
  Layer add_layer(GgmlTensor* q, GgmlTensor* mask);
  void fill(GgmlTensor* q, GgmlTensor* mask);
  void fill_mask(GgmlTensor* mask);

  const GgmlApi* api_;
  GgmlSpec spec_;
  std::uint64_t layer_size_bytes_;
  std::unique_ptr<GgmlContext, GgmlEnd<GgmlContext>> context_;
  std::unique_ptr<GgmlBackend, GgmlEnd<GgmlBackend>> backend_;
  std::unique_ptr<GgmlBuffer, GgmlEnd<GgmlBuffer>> buffer_;
  std::vector<GgmlGraph*> graphs_;
  std::vector<Layer> layers_;
  std::span<const std::byte> bytes_;
  std::span<const std::byte> keys_;
  std::span<const std::byte> values_;
  std::span<const float> q_;
  std::span<const float> out_;
};

}  // namespace kvault::tools
