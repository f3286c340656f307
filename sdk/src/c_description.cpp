#include <memory>
#include <string>
#include <vector>

#include "sdk/src/c_boundary.hpp"
#include "sdk/src/client_handle.hpp"

// What a session is, to whoever wants to open it without knowing.

using kvault::Result;
using kvault::c::guard;
using kvault::c::require;

struct kvault_description {
  kvault::SessionDescription description;
  std::vector<kvault_layer> layers;
  std::vector<kvault_identity_field> identity;
};

extern "C" {

kvault_status kvault_client_describe(kvault_client* client, const char* name_or_id,
                                     kvault_description** out_description, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(out_description, "out_description"));
    *out_description = nullptr;
    KVAULT_CHECK(require(client, "client"));
    KVAULT_CHECK(require(name_or_id, "name_or_id"));
    KVAULT_TRY(kvault::client::Session session, client->client.inspect(name_or_id));
    auto result = std::make_unique<kvault_description>();
    result->description = std::move(session.description);
    for (const kvault::LayerSpec& layer : result->description.shape.layers) {
      result->layers.push_back({static_cast<kvault_layer_kind>(layer.kind), layer.n_head,
                                layer.n_kv_head, layer.key_head_dim, layer.value_head_dim,
                                layer.window, static_cast<kvault_scheme>(layer.key_scheme),
                                static_cast<kvault_scheme>(layer.value_scheme)});
    }
    for (const kvault::IdentityField& field : result->description.identity) {
      result->identity.push_back({field.name.c_str(), field.value.c_str()});
    }
    *out_description = result.release();
    return {};
  });
}

void kvault_description_destroy(kvault_description* description) { delete description; }

kvault_row_type kvault_description_row_type(const kvault_description* description) {
  return static_cast<kvault_row_type>(description->description.shape.row_type);
}

const kvault_layer* kvault_description_layers(const kvault_description* description,
                                              uint32_t* out_n_layer) {
  *out_n_layer = static_cast<std::uint32_t>(description->layers.size());
  return description->layers.data();
}

const kvault_identity_field* kvault_description_identity(const kvault_description* description,
                                                         uint32_t* out_n_identity) {
  *out_n_identity = static_cast<std::uint32_t>(description->identity.size());
  return description->identity.data();
}

}  // extern "C"
