#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "core/cache/cache.hpp"
#include "core/cpu/cpu_device.hpp"
#include "tests/support/random.hpp"

namespace kvault::test {

/// Rows and queries of a chat that a test feeds to caches in whatever portions it likes. One layer
/// of full attention unless the options say otherwise; every layer gets the same rows.
struct Chat {
  CacheOptions options;
  std::uint64_t n_token = 0;
  std::vector<float> q;       ///< [n_token, n_head, key_head_dim]
  std::vector<float> keys;    ///< [n_token, n_kv_head, key_head_dim]
  std::vector<float> values;  ///< [n_token, n_kv_head, value_head_dim]

  const LayerSpec& spec() const { return options.shape.layers[0]; }
  std::size_t q_size() const { return std::size_t{spec().n_head} * spec().key_head_dim; }
  std::size_t key_size() const { return std::size_t{spec().n_kv_head} * spec().key_head_dim; }
  std::size_t value_size() const { return std::size_t{spec().n_kv_head} * spec().value_head_dim; }
  std::size_t out_size() const { return std::size_t{spec().n_head} * spec().value_head_dim; }

  RowsView key_rows(std::uint64_t first, std::uint64_t n) const {
    return RowsView::dense(reinterpret_cast<const std::byte*>(keys.data() + first * key_size()),
                           RowType::f32, static_cast<std::uint32_t>(n), spec().n_kv_head,
                           spec().key_head_dim);
  }
  RowsView value_rows(std::uint64_t first, std::uint64_t n) const {
    return RowsView::dense(reinterpret_cast<const std::byte*>(values.data() + first * value_size()),
                           RowType::f32, static_cast<std::uint32_t>(n), spec().n_kv_head,
                           spec().value_head_dim);
  }
  AttendRequest request(std::uint64_t first, std::uint64_t n, std::vector<float>& out) const {
    out.resize(n * out_size());
    AttendRequest request;
    request.n_q = static_cast<std::uint32_t>(n);
    request.q = std::span(q).subspan(first * q_size(), n * q_size());
    request.out = out;
    return request;
  }
};

inline CacheOptions cache_options(Scheme key, Scheme value, std::uint32_t head_dim = 64,
                                  std::uint32_t n_head = 4, std::uint32_t n_kv_head = 2) {
  CacheOptions options;
  options.shape.row_type = RowType::f32;
  options.shape.layers.push_back({.n_head = n_head,
                                  .n_kv_head = n_kv_head,
                                  .key_head_dim = head_dim,
                                  .value_head_dim = head_dim,
                                  .key_scheme = key,
                                  .value_scheme = value});
  return options;
}

inline Chat make_chat(const CacheOptions& options, std::uint64_t n_token, std::uint64_t seed) {
  Random random(seed);
  Chat chat;
  chat.options = options;
  chat.n_token = n_token;
  chat.q = random.normals(n_token * chat.q_size());
  chat.keys = random.normals(n_token * chat.key_size());
  chat.values = random.normals(n_token * chat.value_size());
  return chat;
}

inline std::unique_ptr<Device> open_cpu() {
  auto device = cpu::open_device({.n_thread = 2});
  REQUIRE(device);
  return std::move(*device);
}

inline Cache make_cache(Device& device, const Chat& chat) {
  auto cache = Cache::create(device, chat.options);
  REQUIRE(cache);
  return std::move(*cache);
}

/// Feeds tokens [first, last) in portions of `chunk` to every attention layer; the outputs of layer
/// 0, one behind the other.
inline std::vector<float> feed(Cache& cache, const Chat& chat, std::uint64_t first,
                               std::uint64_t last, std::uint64_t chunk) {
  std::vector<float> all;
  for (std::uint64_t token = first; token < last; token += chunk) {
    const std::uint64_t n = std::min(chunk, last - token);
    for (std::uint32_t layer = 0; layer < cache.n_layer(); ++layer) {
      if (!chat.options.shape.layers[layer].has_attention()) continue;
      std::vector<float> out;
      const AttendRequest request = chat.request(token, n, out);
      const auto done = cache.append_attend(LayerIndex(layer), chat.key_rows(token, n),
                                            chat.value_rows(token, n), request);
      if (!done) FAIL(done.error().message);
      if (layer == 0) all.insert(all.end(), out.begin(), out.end());
    }
  }
  return all;
}

inline bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

/// Largest relative L2 distance of a row of `row_size` elements.
inline double worst_row_distance(std::span<const float> a, std::span<const float> b,
                                 std::size_t row_size) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t row = 0; row < a.size(); row += row_size) {
    double difference = 0;
    double norm = 0;
    for (std::size_t i = row; i < row + row_size; ++i) {
      const auto x = static_cast<double>(a[i]);
      const auto y = static_cast<double>(b[i]);
      difference += (x - y) * (x - y);
      norm += y * y;
    }
    worst = std::max(worst, std::sqrt(difference / std::max(norm, 1e-30)));
  }
  return worst;
}

}  // namespace kvault::test
