#include "core/cache/cache_options.hpp"

#include "core/codec/equaliser.hpp"
#include "core/layout/block_layout.hpp"

namespace kvault {
namespace {

constexpr std::size_t kLayerMax = 1024;
constexpr std::uint32_t kHeadMax = 1024;
constexpr std::uint32_t kWindowMax = 1U << 20U;

Result<> check_attention(const LayerSpec& layer, std::size_t index) {
  if (layer.n_kv_head == 0 || layer.n_head > kHeadMax || layer.n_head % layer.n_kv_head != 0 ||
      layer.n_head == 0) {
    return fail(Errc::shape_mismatch, message("layer ", index, ": n_head ", layer.n_head,
                                              " is not a positive multiple (up to ", kHeadMax,
                                              ") of n_kv_head ", layer.n_kv_head));
  }
  const bool is_raw = layer.key_scheme == Scheme::raw && layer.value_scheme == Scheme::raw;
  for (const std::uint32_t dim : {layer.key_head_dim, layer.value_head_dim}) {
    if (dim < 1 || dim > KVAULT_HEAD_DIM_MAX) {
      return fail(Errc::unsupported, message("layer ", index, ": head_dim ", dim, " is not in 1..",
                                             KVAULT_HEAD_DIM_MAX));
    }
    if (!is_raw && !is_supported_head_dim(dim)) {
      return fail(Errc::unsupported,
                  message("layer ", index, ": head_dim ", dim,
                          " is not one of 32, 48, 64, 80, 96, 112, 128, 160, 192, 256, 512"));
    }
  }
  if (layer.kind == LayerKind::sliding_window && (layer.window == 0 || layer.window > kWindowMax)) {
    return fail(Errc::invalid_argument,
                message("layer ", index, ": window ", layer.window, " is not in 1..", kWindowMax));
  }
  for (const Scheme scheme : {layer.key_scheme, layer.value_scheme}) {
    if (scheme != Scheme::raw && code_bits_of(scheme) == 0) {
      return fail(Errc::invalid_argument,
                  message("layer ", index, ": unknown scheme ", static_cast<unsigned>(scheme)));
    }
  }
  return {};
}

Result<> check_equaliser(const CacheOptions& options, std::size_t index) {
  const LayerSpec& layer = options.shape.layers[index];
  const std::size_t wanted = layer.kind == LayerKind::full_attention
                                 ? std::size_t{layer.n_kv_head} * layer.key_head_dim
                                 : 0;
  const std::vector<Half>& given = options.equalisers[index];
  if (given.size() != wanted) {
    return fail(Errc::shape_mismatch, message("layer ", index, ": the equaliser has ", given.size(),
                                              " entries, not ", wanted));
  }
  if (!is_valid_equaliser(given)) {
    return fail(Errc::invalid_argument,
                message("layer ", index, ": an equaliser entry is not a positive normal number"));
  }
  return {};
}

}  // namespace

Result<> check(const CacheOptions& options) {
  const std::vector<LayerSpec>& layers = options.shape.layers;
  if (layers.empty() || layers.size() > kLayerMax) {
    return fail(Errc::invalid_argument,
                message(layers.size(), " layers, but 1 to ", kLayerMax, " are possible"));
  }
  const auto type = static_cast<unsigned>(options.shape.row_type);
  if (type < KVAULT_FORMAT_RAW_F16 || type > KVAULT_FORMAT_RAW_F32) {
    return fail(Errc::invalid_argument, message("unknown row type ", type));
  }
  if (options.equalise == Equalise::given && options.equalisers.size() != layers.size()) {
    return fail(Errc::shape_mismatch,
                message(options.equalisers.size(), " equalisers for ", layers.size(), " layers"));
  }
  if (options.equalise == Equalise::learn && options.raw_policy == RawPolicy::none) {
    return fail(Errc::unsupported,
                "without raw pages the first page is sealed before an equaliser can be learned: "
                "give one, or choose none");
  }
  for (std::size_t index = 0; index < layers.size(); ++index) {
    switch (layers[index].kind) {
      case LayerKind::full_attention:
      case LayerKind::sliding_window:
        KVAULT_CHECK(check_attention(layers[index], index));
        break;
      case LayerKind::recurrent:
      case LayerKind::none:
        break;
      default:
        return fail(Errc::invalid_argument, message("layer ", index, ": unknown kind ",
                                                    static_cast<unsigned>(layers[index].kind)));
    }
    if (options.equalise == Equalise::given) KVAULT_CHECK(check_equaliser(options, index));
  }
  return {};
}

}  // namespace kvault
