#include <algorithm>

#include "sdk/src/c_boundary.hpp"
#include "sdk/src/c_session_info.hpp"
#include "sdk/src/client_handle.hpp"

// The C interface of sessions.

using kvault::Errc;
using kvault::fail;
using kvault::message;
using kvault::Result;
using kvault::c::guard;
using kvault::c::require;

namespace {

constexpr std::uint32_t kIdentityMax = 64;

Result<> require_open(const kvault_session* session) {
  KVAULT_CHECK(require(session, "session"));
  if (session->stored == nullptr) {
    return fail(Errc::disconnected, "the session's client has been disconnected");
  }
  return {};
}

/// Identity and shape; no name.
Result<kvault::SessionDescription> to_model(const kvault_session_options& options,
                                            const kvault::ModelShape& shape) {
  kvault::SessionDescription result;
  result.shape = shape;
  if (options.n_identity > kIdentityMax) {
    return fail(Errc::limit_exceeded,
                message(options.n_identity, " identity fields, at most ", kIdentityMax));
  }
  for (std::uint32_t i = 0; i < options.n_identity; ++i) {
    KVAULT_CHECK(require(options.identity, "identity"));
    KVAULT_CHECK(require(options.identity[i].name, "identity name"));
    KVAULT_CHECK(require(options.identity[i].value, "identity value"));
    result.identity.push_back({options.identity[i].name, options.identity[i].value});
  }
  return result;
}

Result<kvault::SessionOptions> to_session_options(const kvault_session_options& options,
                                                  const kvault_cache_options& cache) {
  KVAULT_CHECK(require(options.name, "name"));
  kvault::SessionOptions result;
  KVAULT_TRY(result.cache, kvault::c::to_cache_options(cache));
  KVAULT_TRY(result.description, to_model(options, result.cache.shape));
  result.description.name = options.name;
  result.create = options.create != 0;
  result.copy = options.copy != 0;
  result.stream = options.stream != 0;
  result.deadline_ms = options.deadline_ms;
  if (options.progress != nullptr) {
    result.progress = [callback = options.progress, user = options.progress_user](
                          std::uint64_t done, std::uint64_t total) {
      return callback(done, total, user) != 0;
    };
  }
  return result;
}

}  // namespace

extern "C" {

kvault_status kvault_session_open(kvault_client* client, const kvault_session_options* options,
                                  kvault_session** out_session, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(out_session, "out_session"));
    *out_session = nullptr;
    KVAULT_CHECK(require(client, "client"));
    KVAULT_TRY(const kvault_session_options given, kvault::c::read_options(options));
    KVAULT_TRY(const kvault_cache_options cache, kvault::c::read_options(given.cache));
    KVAULT_TRY(kvault::SessionOptions converted, to_session_options(given, cache));
    auto session = std::make_unique<kvault_session>();
    KVAULT_TRY(session->shared, kvault::c::open_device(cache));
    KVAULT_TRY(session->stored, kvault::StoredCache::open(client->client, *session->shared.device,
                                                          std::move(converted)));
    session->cache = std::make_unique<kvault_cache>(session->shared, &session->stored->cache());
    session->client = client;
    client->sessions.push_back(session.get());
    *out_session = session.release();
    return {};
  });
}

void kvault_session_close(kvault_session* session) {
  if (session == nullptr) return;
  if (session->client != nullptr) std::erase(session->client->sessions, session);
  delete session;
}

kvault_status kvault_session_load_layer(kvault_session* session, uint32_t layer,
                                        kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require_open(session));
    return session->stored->load_layer(kvault::LayerIndex(layer));
  });
}

kvault_status kvault_session_load_all(kvault_session* session, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require_open(session));
    return session->stored->load_all();
  });
}

kvault_cache* kvault_session_cache(kvault_session* session) {
  return session == nullptr ? nullptr : session->cache.get();
}

kvault_status kvault_session_get_info(const kvault_session* session, kvault_session_info* out_info,
                                      kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require_open(session));
    KVAULT_CHECK(require(out_info, "out_info"));
    *out_info = kvault::c::to_session_info(session->stored->refreshed_info());
    return {};
  });
}

kvault_status kvault_session_save(kvault_session* session, const uint32_t* token_id,
                                  size_t n_token_id, kvault_save_info* out_info,
                                  kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require_open(session));
    if (n_token_id > 0) KVAULT_CHECK(require(token_id, "token_id"));
    KVAULT_TRY(const kvault::SaveInfo info, session->stored->save({token_id, n_token_id}));
    if (out_info != nullptr) {
      *out_info = {info.commit_number, info.n_token,     info.n_page,      info.written_bytes,
                   info.raw_bytes,     info.coded_bytes, info.shared_bytes};
    }
    return {};
  });
}

kvault_status kvault_session_tokens(const kvault_session* session, const uint32_t** out_token_id,
                                    uint64_t* out_n_token, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require_open(session));
    KVAULT_CHECK(require(out_token_id, "out_token_id"));
    KVAULT_CHECK(require(out_n_token, "out_n_token"));
    const auto ids = session->stored->token_ids();
    *out_token_id = ids.data();
    *out_n_token = ids.size();
    return {};
  });
}

kvault_status kvault_session_rollback(kvault_session* session, uint64_t n_token,
                                      kvault_kept* out_kept, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require_open(session));
    KVAULT_TRY(const kvault::Kept kept, session->stored->rollback(kvault::Tokens(n_token)));
    if (out_kept != nullptr) *out_kept = {kept.n_token.raw, kept.exact ? 1U : 0U, 0};
    return {};
  });
}

kvault_status kvault_client_match(kvault_client* client, const kvault_session_options* options,
                                  const uint32_t* token_id, size_t n_token_id,
                                  kvault_match* out_match, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(out_match, "out_match"));
    *out_match = {};
    KVAULT_CHECK(require(client, "client"));
    if (n_token_id > 0) KVAULT_CHECK(require(token_id, "token_id"));
    KVAULT_TRY(const kvault_session_options given, kvault::c::read_options(options));
    KVAULT_TRY(const kvault_cache_options cache, kvault::c::read_options(given.cache));
    KVAULT_TRY(const kvault::CacheOptions converted, kvault::c::to_cache_options(cache));
    KVAULT_TRY(const kvault::SessionDescription model, to_model(given, converted.shape));
    KVAULT_TRY(const kvault::client::Match match,
               client->client.match(model, {token_id, n_token_id}));
    if (!match.session) return {};
    out_match->found = 1;
    out_match->n_token = match.n_token;
    out_match->kept = {match.kept.n_token, match.kept.exact ? 1U : 0U, 0};
    out_match->info = kvault::c::to_session_info(*match.session);
    return {};
  });
}

}  // extern "C"
