#include <algorithm>
#include <set>

#include "core/format/description.hpp"
#include "core/format/text.hpp"
#include "core/layout/block_layout.hpp"

namespace kvault {
namespace {

Result<> check_attention(const LayerSpec& layer, std::string_view what) {
  const auto refuse = [&](std::string_view name, std::uint32_t value, std::string_view rule) {
    return fail(Errc::invalid_argument, message(what, " has ", name, " ", value, "; ", rule));
  };
  if (layer.n_kv_head < 1 || layer.n_kv_head > kHeadsMax) {
    return refuse("n_kv_head", layer.n_kv_head, "1 to 1024 are allowed");
  }
  if (layer.n_head < 1 || layer.n_head > kHeadsMax || layer.n_head % layer.n_kv_head != 0) {
    return refuse("n_head", layer.n_head,
                  message("a multiple of n_kv_head ", layer.n_kv_head, " up to 1024 is needed"));
  }
  const bool is_window = layer.kind == LayerKind::sliding_window;
  if (is_window != (layer.window > 0)) {
    return refuse("window", layer.window, "sliding windows have one, full attention has 0");
  }
  for (const auto& [name, dim, scheme] :
       {std::tuple("key_head_dim", layer.key_head_dim, layer.key_scheme),
        std::tuple("value_head_dim", layer.value_head_dim, layer.value_scheme)}) {
    if (dim < 1 || dim > KVAULT_HEAD_DIM_MAX) return refuse(name, dim, "1 to 512 are allowed");
    if (scheme == Scheme::raw) continue;
    if (is_window) return refuse("scheme", static_cast<std::uint32_t>(scheme), "windows are raw");
    if (!is_supported_head_dim(dim)) {
      return refuse(name, dim, message("scheme ", name_of(scheme), " has no rotation for it"));
    }
  }
  return {};
}

Result<> check_layer(const LayerSpec& layer, std::size_t index) {
  const std::string what = message("layer ", index);
  switch (layer.kind) {
    case LayerKind::full_attention:
    case LayerKind::sliding_window:
      return check_attention(layer, what);
    case LayerKind::recurrent:
    case LayerKind::none:
      if (layer != LayerSpec{.kind = layer.kind}) {
        return fail(Errc::invalid_argument,
                    message(what, " has no attention, so heads, dims, window and schemes are 0"));
      }
      return {};
  }
  return fail(Errc::invalid_argument,
              message(what, " has the unknown kind ", static_cast<unsigned>(layer.kind)));
}

}  // namespace

Result<> check_session_name(std::string_view name) {
  return check_text("the session name", name, 1, kSessionNameSizeMax);
}

Result<> check_shape(const ModelShape& shape) {
  const auto row_type = static_cast<unsigned>(shape.row_type);
  if (row_type < KVAULT_FORMAT_RAW_F16 || row_type > KVAULT_FORMAT_RAW_F32) {
    return fail(Errc::invalid_argument, message("row type ", row_type, " is not known"));
  }
  if (shape.layers.empty() || shape.layers.size() > kLayersMax) {
    return fail(Errc::invalid_argument, message("a model with ", shape.layers.size(),
                                                " layers; 1 to ", kLayersMax, " are allowed"));
  }
  bool keeps_anything = false;
  for (std::size_t i = 0; i < shape.layers.size(); ++i) {
    KVAULT_CHECK(check_layer(shape.layers[i], i));
    keeps_anything = keeps_anything || shape.layers[i].kind != LayerKind::none;
  }
  if (!keeps_anything) {
    return fail(Errc::invalid_argument,
                message("none of the ", shape.layers.size(), " layers keeps anything"));
  }
  return {};
}

Result<> check_description(const SessionDescription& description) {
  KVAULT_CHECK(check_session_name(description.name));
  return check_model(description);
}

Result<> check_model(const SessionDescription& description) {
  if (description.identity.size() > kIdentityFieldsMax) {
    return fail(Errc::invalid_argument, message(description.identity.size(), " identity fields; ",
                                                kIdentityFieldsMax, " are allowed"));
  }
  std::set<std::string_view> names;
  for (const IdentityField& field : description.identity) {
    KVAULT_CHECK(check_text("an identity field's name", field.name, 1, kIdentityNameSizeMax));
    KVAULT_CHECK(check_text(message("the value of identity field ", field.name), field.value, 0,
                            kIdentityValueSizeMax));
    if (!names.insert(field.name).second) {
      return fail(Errc::invalid_argument, message("identity field ", field.name, " comes twice"));
    }
  }
  return check_shape(description.shape);
}

}  // namespace kvault
