#pragma once

#include <memory>

#include "tools/bench/ggml_layers.hpp"
#include "tools/bench/variant.hpp"

namespace kvault::tools {

/// ggml's cpu backend over one graph after another; a visit's time is that of one layer. The peer
/// and the layers must outlive it.
class GgmlAttention final : public Variant {
 public:
  static Result<std::unique_ptr<GgmlAttention>> create(const GgmlPeer& peer,
                                                       const GgmlLayers& layers,
                                                       std::uint32_t n_thread);
  Result<double> visit_us() override;

 private:
  GgmlAttention(const GgmlPeer& peer, const GgmlLayers& layers)
      : api_(peer.api()), layers_(layers), backend_(nullptr, {peer.api().backend_free}) {}

  const GgmlApi& api_;
  const GgmlLayers& layers_;
  std::unique_ptr<GgmlBackend, GgmlEnd<GgmlBackend>> backend_;
  std::size_t next_graph_ = 0;
};

/// The largest relative L2 error of the peer's output per query and head against plain loops in
/// double over the same f16 K and V, on small shapes in both layouts.
Result<double> ggml_attention_error(const GgmlPeer& peer);
/// Far above what f16 accumulators lose, far below any other function of the input.
inline constexpr double kGgmlErrorMax = 0.02;

}  // namespace kvault::tools
