#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "sdk/src/session.hpp"
#include "tests/e2e/daemon_process.hpp"
#include "tests/support/chat.hpp"

/// Apps in namespaces of their own, and the chats they keep there.
namespace kvault::test::namespaces {

namespace fs = std::filesystem;

inline SecretKey token_of(std::uint8_t seed) {
  return SecretKey::from_bytes(std::vector<std::byte>(kSecretKeySize, std::byte{seed})).value();
}

inline ClientOptions in_namespace(const Daemon& daemon, const std::string& name, std::uint8_t seed,
                                  NamespaceCreation create = NamespaceCreation::none) {
  ClientOptions options = daemon.client_options();
  options.name_space = {name, token_of(seed), create};
  return options;
}

/// Full attention, coded; a sliding window; a recurrent layer.
inline CacheOptions mixed_options() {
  CacheOptions options = cache_options(Scheme::tq4, Scheme::tq3);
  LayerSpec window = options.shape.layers[0];
  window.kind = LayerKind::sliding_window;
  window.window = 200;
  window.key_scheme = window.value_scheme = Scheme::raw;
  options.shape.layers.push_back(window);
  options.shape.layers.push_back({.kind = LayerKind::recurrent});
  return options;
}
inline Chat mixed_chat(std::uint64_t seed) { return make_chat(mixed_options(), 1000, seed); }

inline Result<std::unique_ptr<StoredCache>> open(Client& client, Device& device, const Chat& chat,
                                                 const std::string& name, bool stream = false) {
  SessionOptions options;
  options.description = {name, {{"weights", "abc"}}, chat.options.shape};
  options.cache = chat.options;
  options.create = true;
  options.stream = stream;
  return StoredCache::open(client, device, std::move(options));
}

inline std::vector<std::uint32_t> ids(std::uint64_t first, std::uint64_t last) {
  std::vector<std::uint32_t> values;
  for (std::uint64_t token = first; token < last; ++token) {
    values.push_back(static_cast<std::uint32_t>(token * 7 + 1));
  }
  return values;
}

inline void feed_to(StoredCache& stored, const Chat& chat, std::uint64_t last) {
  Cache& cache = stored.cache();
  feed(cache, chat, cache.n_token().raw, last, 100);
  for (std::uint32_t layer = 0; layer < cache.n_layer(); ++layer) {
    if (chat.options.shape.layers[layer].kind != LayerKind::recurrent) continue;
    const std::vector<std::byte> state(64, static_cast<std::byte>(last % 251));
    REQUIRE(cache.set_state(LayerIndex(layer), Tokens(last), state));
  }
}

inline void wait_until_ready(const Daemon& daemon) {
  const Client ready = daemon.connect();
  CHECK(!ready.is_encrypted());
}

}  // namespace kvault::test::namespaces
