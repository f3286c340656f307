#include <algorithm>
#include <cstring>

#include "core/layout/block_layout.hpp"
#include "sdk/src/c_arguments.hpp"
#include "sdk/src/c_boundary.hpp"
#include "sdk/src/cache_handle.hpp"

// The C interface of caches: every function checks for NULL, converts, and calls core/cache.

using kvault::AttendRequest;
using kvault::Errc;
using kvault::fail;
using kvault::LayerIndex;
using kvault::LayerSpec;
using kvault::message;
using kvault::Result;
using kvault::RowsView;
using kvault::Side;
using kvault::Tokens;
using kvault::c::guard;
using kvault::c::require;
using kvault::c::spec_of;
using kvault::c::to_request;
using kvault::c::to_rows;

namespace {

Result<Side> to_side(kvault_side side) {
  if (side == KVAULT_KEY) return Side::key;
  if (side == KVAULT_VALUE) return Side::value;
  return fail(Errc::invalid_argument, message("unknown side ", static_cast<int>(side)));
}

void store_kept(const kvault::Kept& kept, kvault_kept* target) {
  if (target != nullptr) *target = {kept.n_token.raw, kept.exact ? 1U : 0U, 0};
}

}  // namespace

extern "C" {

kvault_status kvault_cache_create(const kvault_cache_options* options, kvault_cache** out_cache,
                                  kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(out_cache, "out_cache"));
    *out_cache = nullptr;
    KVAULT_TRY(const kvault_cache_options given, kvault::c::read_options(options));
    KVAULT_TRY(kvault::CacheOptions converted, kvault::c::to_cache_options(given));
    KVAULT_CHECK(kvault::check(converted));
    KVAULT_TRY(kvault::c::SharedDevice shared, kvault::c::open_device(given));
    KVAULT_TRY(auto cache, kvault::Cache::create(*shared.device, std::move(converted)));
    *out_cache = new kvault_cache(std::move(shared), std::move(cache));
    return {};
  });
}

void kvault_cache_destroy(kvault_cache* cache) { delete cache; }

uint64_t kvault_cache_n_token(const kvault_cache* cache) {
  return cache == nullptr ? 0 : cache->cache.n_token().raw;
}

kvault_status kvault_cache_append(kvault_cache* cache, uint32_t layer, const kvault_rows* keys,
                                  const kvault_rows* values, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(cache, "cache"));
    KVAULT_TRY(const LayerSpec spec, spec_of(*cache, layer));
    KVAULT_TRY(const RowsView k, to_rows(*cache, spec, Side::key, keys));
    KVAULT_TRY(const RowsView v, to_rows(*cache, spec, Side::value, values));
    return cache->cache.append(LayerIndex(layer), k, v);
  });
}

kvault_status kvault_cache_attend(kvault_cache* cache, uint32_t layer,
                                  const kvault_attend_options* options, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(cache, "cache"));
    KVAULT_TRY(const LayerSpec spec, spec_of(*cache, layer));
    KVAULT_TRY(const AttendRequest request, to_request(spec, options));
    return cache->cache.attend(LayerIndex(layer), request);
  });
}

kvault_status kvault_cache_append_attend(kvault_cache* cache, uint32_t layer,
                                         const kvault_rows* keys, const kvault_rows* values,
                                         const kvault_attend_options* options,
                                         kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(cache, "cache"));
    KVAULT_TRY(const LayerSpec spec, spec_of(*cache, layer));
    KVAULT_TRY(const RowsView k, to_rows(*cache, spec, Side::key, keys));
    KVAULT_TRY(const RowsView v, to_rows(*cache, spec, Side::value, values));
    KVAULT_TRY(const AttendRequest request, to_request(spec, options));
    return cache->cache.append_attend(LayerIndex(layer), k, v, request);
  });
}

kvault_status kvault_cache_set_state(kvault_cache* cache, uint32_t layer, uint64_t position,
                                     const void* bytes, size_t size_bytes, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(cache, "cache"));
    if (size_bytes > 0) KVAULT_CHECK(require(bytes, "bytes"));
    return cache->cache.set_state(LayerIndex(layer), Tokens(position),
                                  {static_cast<const std::byte*>(bytes), size_bytes});
  });
}

kvault_status kvault_cache_state(const kvault_cache* cache, uint32_t layer, const void** out_bytes,
                                 size_t* out_size_bytes, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(cache, "cache"));
    KVAULT_CHECK(require(out_bytes, "out_bytes"));
    KVAULT_CHECK(require(out_size_bytes, "out_size_bytes"));
    *out_bytes = nullptr;
    *out_size_bytes = 0;
    KVAULT_TRY(const std::span<const std::byte> state, cache->cache.state(LayerIndex(layer)));
    *out_bytes = state.data();
    *out_size_bytes = state.size();
    return {};
  });
}

kvault_status kvault_cache_rollback(kvault_cache* cache, uint64_t n_token, kvault_kept* out_kept,
                                    kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(cache, "cache"));
    KVAULT_TRY(const kvault::Kept kept, cache->cache.rollback(Tokens(n_token)));
    store_kept(kept, out_kept);
    return {};
  });
}

kvault_status kvault_cache_fork(const kvault_cache* cache, uint64_t n_token,
                                kvault_cache** out_fork, kvault_kept* out_kept,
                                kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(out_fork, "out_fork"));
    *out_fork = nullptr;
    KVAULT_CHECK(require(cache, "cache"));
    kvault::Kept kept;
    KVAULT_TRY(auto fork, cache->cache.fork(Tokens(n_token), &kept));
    *out_fork = new kvault_cache(cache->shared, std::move(fork));
    store_kept(kept, out_kept);
    return {};
  });
}

kvault_status kvault_cache_read_rows(kvault_cache* cache, uint32_t layer, kvault_side side,
                                     uint64_t first_token, uint64_t n_token, kvault_row_type type,
                                     void* out, size_t out_size_bytes, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(cache, "cache"));
    KVAULT_CHECK(require(out, "out"));
    KVAULT_TRY(const Side which, to_side(side));
    KVAULT_TRY(const LayerSpec spec, spec_of(*cache, layer));
    if (type < KVAULT_F16 || type > KVAULT_F32) {
      return fail(Errc::invalid_argument, message("unknown row type ", static_cast<int>(type)));
    }
    if (n_token > cache->cache.options().n_token_max) {
      return fail(Errc::out_of_range, message(n_token, " rows asked for, the cache keeps at most ",
                                              cache->cache.options().n_token_max));
    }
    const std::uint32_t dim = which == Side::key ? spec.key_head_dim : spec.value_head_dim;
    const std::size_t n = n_token * spec.n_kv_head * dim;
    const std::size_t wanted_bytes = n * kvault::size_bytes_of(static_cast<kvault::RowType>(type));
    if (out_size_bytes < wanted_bytes) {
      return fail(Errc::shape_mismatch,
                  message("room for ", out_size_bytes, " bytes, ", wanted_bytes, " are needed"));
    }
    return cache->cache.read_rows(LayerIndex(layer),
                                  {which,
                                   first_token,
                                   n_token,
                                   static_cast<kvault::RowType>(type),
                                   {static_cast<std::byte*>(out), wanted_bytes}});
  });
}

kvault_status kvault_cache_read_block(kvault_cache* cache, uint32_t layer, kvault_side side,
                                      uint64_t page, uint32_t kv_head, kvault_block* out_block,
                                      void* out, size_t out_size_bytes, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(cache, "cache"));
    KVAULT_CHECK(require(out_block, "out_block"));
    KVAULT_TRY(const Side which, to_side(side));
    std::vector<std::byte> bytes;
    KVAULT_TRY(
        const kvault::BlockFormat format,
        cache->cache.read_block(LayerIndex(layer), kvault::PageIndex(page), which, kv_head, bytes));
    const std::uint64_t n_token = cache->cache.layer(LayerIndex(layer)).n_token();
    const std::uint64_t n_valid =
        std::min<std::uint64_t>(kvault::kPageTokens, n_token - page * kvault::kPageTokens);
    *out_block = {format.byte(), static_cast<std::uint32_t>(n_valid), bytes.size()};
    if (out == nullptr) return {};
    if (out_size_bytes < bytes.size()) {
      return fail(Errc::shape_mismatch,
                  message("room for ", out_size_bytes, " bytes, ", bytes.size(), " are needed"));
    }
    std::memcpy(out, bytes.data(), bytes.size());
    return {};
  });
}

kvault_status kvault_cache_get_stats(const kvault_cache* cache, kvault_cache_stats* out_stats,
                                     kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(cache, "cache"));
    KVAULT_TRY(kvault_cache_stats result, kvault::c::read_options(out_stats));
    const kvault::CacheStats stats = cache->cache.stats();
    const std::uint32_t given_bytes = result.struct_size;
    result = {given_bytes,
              0,
              stats.n_token,
              stats.n_sealed_page,
              stats.n_element * 2,
              stats.stored_size_bytes,
              stats.bits_per_element()};
    std::memcpy(out_stats, &result, std::min<std::size_t>(given_bytes, sizeof(result)));
    return {};
  });
}

}  // extern "C"
