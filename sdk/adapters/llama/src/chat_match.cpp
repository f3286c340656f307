#include <algorithm>
#include <cstring>
#include <set>

#include "sdk/adapters/llama/src/chat.hpp"

// Which saved chat of a model begins most like a prompt. Sessions of one model may keep their rows
// in several ways; the daemon is asked once for each.

namespace kvault::llama {
namespace {

Result<std::vector<std::string>> list_names(kvault_client* client) {
  std::vector<std::string> ids;
  const auto visit = [](const kvault_session_info* info, void* user) -> int {
    static_cast<std::vector<std::string>*>(user)->emplace_back(info->id);
    return 1;
  };
  kvault_error error{};
  KVAULT_CHECK(to_result(kvault_client_list(client, visit, &ids, &error), error));
  return ids;
}

bool is_of(const Model& model, const kvault_description& description) {
  std::uint32_t n = 0;
  const kvault_identity_field* const fields = kvault_description_identity(&description, &n);
  return std::all_of(model.identity().begin(), model.identity().end(),
                     [&](const Model::Field& field) {
                       return std::any_of(fields, fields + n, [&](const auto& recorded) {
                         return field.name == recorded.name && field.value == recorded.value;
                       });
                     });
}

/// What tells one way of keeping rows from another.
std::string key_of(const ChatShape& shape) {
  std::string key = shape.layout.text();
  for (const kvault_layer& layer : shape.layers) {
    key += message(" ", layer.kind, ".", layer.n_kv_head, ".", layer.key_head_dim, ".",
                   layer.value_head_dim, ".", layer.key_scheme, ".", layer.value_scheme);
  }
  return key;
}

Result<kvault_match> ask(kvault_client* client, const kvault_description& description,
                         std::span<const std::int32_t> tokens) {
  kvault_cache_options cache = KVAULT_CACHE_OPTIONS_INIT;
  cache.layers = kvault_description_layers(&description, &cache.n_layer);
  cache.row_type = kvault_description_row_type(&description);
  cache.equalise = KVAULT_EQUALISE_NONE;
  kvault_session_options options = KVAULT_SESSION_OPTIONS_INIT;
  options.identity = kvault_description_identity(&description, &options.n_identity);
  options.cache = &cache;
  const std::vector<std::uint32_t> ids(tokens.begin(), tokens.end());
  kvault_match match{};
  kvault_error error{};
  KVAULT_CHECK(to_result(
      kvault_client_match(client, &options, ids.data(), ids.size(), &match, &error), error));
  return match;
}

}  // namespace

Result<kvault_match> find_match(kvault_client* client, const Model& model,
                                std::span<const std::int32_t> tokens) {
  KVAULT_TRY(const std::vector<std::string> ids, list_names(client));
  kvault_match best{};
  std::set<std::string> asked;
  for (const std::string& id : ids) {
    kvault_description* description = nullptr;
    if (kvault_client_describe(client, id.c_str(), &description, nullptr) != KVAULT_OK) continue;
    const std::unique_ptr<kvault_description, decltype(&kvault_description_destroy)> owner(
        description, &kvault_description_destroy);
    if (!is_of(model, *description)) continue;
    const Result<ChatShape> shape = read_shape(*description);
    if (!shape || !asked.insert(key_of(*shape)).second) continue;
    KVAULT_TRY(const kvault_match match, ask(client, *description, tokens));
    if (match.found != 0 && (best.found == 0 || match.kept.n_token > best.kept.n_token)) {
      best = match;
    }
  }
  return best;
}

}  // namespace kvault::llama
