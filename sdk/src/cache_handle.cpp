#include "sdk/src/cache_handle.hpp"

#include "kvault_backends.hpp"
#include "sdk/src/lent_device.hpp"

namespace kvault::c {
namespace {

Result<LayerSpec> to_layer(const kvault_layer& layer, std::uint32_t index) {
  const auto to_scheme = [index](kvault_scheme scheme) -> Result<Scheme> {
    switch (scheme) {
      case KVAULT_RAW:
        return Scheme::raw;
      case KVAULT_Q8:
        return Scheme::q8;
      case KVAULT_TQ4:
        return Scheme::tq4;
      case KVAULT_TQ3:
        return Scheme::tq3;
      case KVAULT_TQ2:
        return Scheme::tq2;
    }
    return fail(Errc::invalid_argument,
                message("layer ", index, ": unknown scheme ", static_cast<int>(scheme)));
  };
  if (layer.kind < KVAULT_FULL_ATTENTION || layer.kind > KVAULT_NO_MEMORY) {
    return fail(Errc::invalid_argument,
                message("layer ", index, ": unknown kind ", static_cast<int>(layer.kind)));
  }
  LayerSpec spec;
  spec.kind = static_cast<LayerKind>(layer.kind);
  if (!spec.has_attention()) return spec;
  spec.n_head = layer.n_head;
  spec.n_kv_head = layer.n_kv_head;
  spec.key_head_dim = layer.key_head_dim;
  spec.value_head_dim = layer.value_head_dim;
  if (spec.kind == LayerKind::sliding_window) {
    spec.window = layer.window;
    return spec;
  }
  KVAULT_TRY(spec.key_scheme, to_scheme(layer.key_scheme));
  KVAULT_TRY(spec.value_scheme, to_scheme(layer.value_scheme));
  return spec;
}

std::vector<std::vector<Half>> to_equalisers(const kvault_cache_options& options,
                                             const std::vector<LayerSpec>& layers) {
  std::vector<std::vector<Half>> equalisers(layers.size());
  const std::uint16_t* source = options.equaliser;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].kind != LayerKind::full_attention) continue;
    const std::size_t n = std::size_t{layers[i].n_kv_head} * layers[i].key_head_dim;
    for (std::size_t j = 0; j < n; ++j) equalisers[i].push_back(Half{source[j]});
    source += n;
  }
  return equalisers;
}

}  // namespace

Result<SharedDevice> open_device(const kvault_cache_options& options) {
  const bool is_vulkan = options.vulkan_device != nullptr;
  const bool is_cuda = options.cuda_device != nullptr;
  if (is_vulkan && is_cuda) {
    return fail(Errc::invalid_argument, "a vulkan_device and a cuda_device are lent, not one");
  }
  if (is_vulkan || is_cuda) {
    if (options.device != nullptr) {
      return fail(Errc::invalid_argument,
                  message("a ", is_vulkan ? "vulkan" : "cuda", "_device is lent, but the device \"",
                          options.device, "\" is named as well"));
    }
    return is_vulkan ? open_lent_device(*options.vulkan_device)
                     : open_lent_device(*options.cuda_device);
  }
  KVAULT_TRY(std::unique_ptr<Device> device,
             kvault::open_device(options.device == nullptr ? "cpu" : options.device,
                                 {.n_thread = options.n_thread}));
  return SharedDevice{.device = std::move(device), .engine_buffers = nullptr};
}

Result<LayerSpec> spec_of(const kvault_cache& cache, std::uint32_t layer) {
  const auto& layers = cache.cache.options().shape.layers;
  if (layer >= layers.size()) {
    return fail(Errc::out_of_range, message("layer ", layer, " of ", layers.size()));
  }
  return layers[layer];
}

Result<CacheOptions> to_cache_options(const kvault_cache_options& options) {
  CacheOptions result;
  KVAULT_CHECK([&]() -> Result<> {
    if (options.n_layer == 0 || options.layers == nullptr || options.n_layer > 1024) {
      return fail(Errc::invalid_argument,
                  message(options.n_layer, " layers, but 1 to 1024 are possible"));
    }
    return {};
  }());
  if (options.row_type != 0) result.shape.row_type = static_cast<RowType>(options.row_type);
  for (std::uint32_t i = 0; i < options.n_layer; ++i) {
    KVAULT_TRY(LayerSpec spec, to_layer(options.layers[i], i));
    result.shape.layers.push_back(spec);
  }
  if (options.equalise < KVAULT_EQUALISE_LEARN || options.equalise > KVAULT_EQUALISE_NONE ||
      options.raw_pages < KVAULT_RAW_SINK_AND_TAIL || options.raw_pages > KVAULT_RAW_NONE) {
    return fail(Errc::invalid_argument,
                message("unknown equalise ", static_cast<int>(options.equalise), " or raw_pages ",
                        static_cast<int>(options.raw_pages)));
  }
  result.equalise = static_cast<Equalise>(options.equalise);
  result.raw_policy = static_cast<RawPolicy>(options.raw_pages);
  if (result.equalise == Equalise::given) {
    if (options.equaliser == nullptr) {
      return fail(Errc::invalid_argument, "equalise is GIVEN, but equaliser is NULL");
    }
    result.equalisers = to_equalisers(options, result.shape.layers);
  }
  if (options.n_token_max != 0) result.n_token_max = options.n_token_max;
  result.centre_values = options.centre_values != 0;
  return result;
}

}  // namespace kvault::c
