#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "sdk/src/c_boundary.hpp"
#include "sdk/src/c_session_info.hpp"
#include "sdk/src/client_handle.hpp"
#include "sdk/src/session_export.hpp"
#include "sdk/src/session_import.hpp"

// The C interface of the connection to kvaultd.

using kvault::Errc;
using kvault::fail;
using kvault::message;
using kvault::Result;
using kvault::c::guard;
using kvault::c::require;

namespace {

Result<kvault::NamespaceOptions> to_namespace(const kvault_client_options& options) {
  kvault::NamespaceOptions result;
  if (options.namespace_create > 2) {
    return fail(Errc::invalid_argument,
                message("namespace_create is ", options.namespace_create, "; it is 0, 1 or 2"));
  }
  if (options.namespace_name == nullptr || options.namespace_name[0] == '\0') {
    const bool is_shared = options.namespace_create == 0 && options.namespace_token == nullptr;
    if (is_shared) return result;
    return fail(Errc::invalid_argument,
                "namespace_create or namespace_token without a namespace_name");
  }
  result.name = options.namespace_name;
  result.create = static_cast<kvault::NamespaceCreation>(options.namespace_create);
  KVAULT_CHECK(require(options.namespace_token, "namespace_token"));
  KVAULT_TRY(result.token, kvault::SecretKey::from_hex(options.namespace_token));
  return result;
}

Result<kvault::ClientOptions> to_client_options(const kvault_client_options& options) {
  kvault::ClientOptions result;
  KVAULT_TRY(result.name_space, to_namespace(options));
  if (options.socket_path != nullptr) result.socket_path = options.socket_path;
  if (options.data_directory != nullptr) result.data_directory = options.data_directory;
  if (options.daemon_path != nullptr) result.daemon_path = options.daemon_path;
  if (options.app_name != nullptr) result.app_name = options.app_name;
  result.auto_start = options.no_auto_start == 0;
  if (options.timeout_ms != 0) result.request_timeout_ms = options.timeout_ms;
  return result;
}

kvault_daemon_stats to_daemon_stats(const kvault::client::Stats& stats) {
  kvault_daemon_stats result{};
  result.n_session = static_cast<std::uint32_t>(stats.n_session);
  result.n_connection = stats.n_connection;
  result.live_size_bytes = stats.live_bytes;
  result.pack_size_bytes = stats.pack_bytes;
  result.disk_size_bytes = stats.disk_bytes;
  result.quota_bytes = stats.quota_bytes;
  result.n_record = stats.n_record;
  result.n_pack = stats.n_pack;
  result.n_queued_task = stats.n_queued_task;
  result.uptime_s = stats.uptime_s;
  result.n_commit = stats.n_commit;
  result.written_size_bytes = stats.written_bytes;
  result.n_evicted = stats.n_evicted;
  result.n_expired = stats.n_expired;
  result.n_pack_deleted = stats.n_pack_deleted;
  result.n_compaction = stats.n_compaction;
  result.moved_size_bytes = stats.moved_bytes;
  result.n_damage = stats.n_damage;
  return result;
}

Result<kvault::client::SessionChange> to_change(const kvault_session_update& update) {
  kvault::client::SessionChange change;
  if (update.name != nullptr) change.name = update.name;
  if (update.n_label > kvault::kLabelsMax) {
    return fail(Errc::limit_exceeded,
                message(update.n_label, " labels, at most ", kvault::kLabelsMax));
  }
  if (update.n_label > 0 || update.clear_labels != 0) change.labels.emplace();
  for (std::uint32_t i = 0; i < update.n_label; ++i) {
    KVAULT_CHECK(require(update.labels, "labels"));
    KVAULT_CHECK(require(update.labels[i], "label"));
    change.labels->emplace_back(update.labels[i]);
  }
  if (update.pin != 0) change.is_pinned = update.pin > 0;
  if (update.expires_unix_s < -1) {
    return fail(Errc::invalid_argument,
                message("expires_unix_s is ", update.expires_unix_s, "; -1 means never"));
  }
  if (update.expires_unix_s != 0) {
    change.expires_at_s =
        update.expires_unix_s < 0 ? 0 : static_cast<std::uint64_t>(update.expires_unix_s);
  }
  return change;
}

kvault::client::Progress to_progress(kvault_progress progress, void* user) {
  if (progress == nullptr) return {};
  return [progress, user](std::uint64_t done_bytes, std::uint64_t total_bytes) {
    return progress(done_bytes, total_bytes, user) != 0;
  };
}

}  // namespace

namespace kvault::c {

kvault_session_info to_session_info(const client::SessionInfo& info) {
  kvault_session_info result{};
  const std::string id = to_hex(info.id);
  std::copy_n(id.data(), std::min(id.size(), sizeof(result.id) - 1), result.id);
  std::copy_n(info.name.data(), std::min(info.name.size(), sizeof(result.name) - 1), result.name);
  result.commit_number = info.commit_number;
  result.n_token = info.n_token;
  result.n_page = info.n_page;
  result.stored_size_bytes = info.live_bytes;
  result.last_used_unix_s =
      static_cast<std::int64_t>(std::max(info.committed_at_s, info.last_used_at_s));
  const SessionAttributes& attributes = info.attributes;
  result.expires_unix_s = static_cast<std::int64_t>(attributes.expires_at_s);
  result.is_pinned = attributes.is_pinned ? 1 : 0;
  if (attributes.forked_from != SessionId()) {
    const std::string from = to_hex(attributes.forked_from);
    std::copy_n(from.data(), std::min(from.size(), sizeof(result.forked_from) - 1),
                result.forked_from);
    result.forked_at_token = attributes.forked_at_token;
  }
  char* at = result.labels;
  for (const std::string& label : attributes.labels) {
    if (static_cast<std::size_t>(result.labels + sizeof(result.labels) - at) < label.size() + 2) {
      break;
    }
    at = std::copy(label.begin(), label.end(), at);
    *at++ = '\n';
  }
  return result;
}

}  // namespace kvault::c

extern "C" {

kvault_status kvault_client_connect(const kvault_client_options* options,
                                    kvault_client** out_client, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(out_client, "out_client"));
    *out_client = nullptr;
    kvault_client_options given = KVAULT_CLIENT_OPTIONS_INIT;
    if (options != nullptr) {
      KVAULT_TRY(given, kvault::c::read_options(options));
    }
    KVAULT_TRY(const kvault::ClientOptions wanted, to_client_options(given));
    KVAULT_TRY(kvault::Client client, kvault::Client::connect(wanted));
    *out_client = new kvault_client{std::move(client), {}};
    return {};
  });
}

kvault_status kvault_new_token(char out_token[65], kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(out_token, "out_token"));
    KVAULT_TRY(const kvault::SecretKey token, kvault::SecretKey::random());
    const std::string text = token.to_hex();
    std::copy_n(text.c_str(), text.size() + 1, out_token);
    return {};
  });
}

int kvault_client_is_encrypted(const kvault_client* client) {
  return client != nullptr && client->client.is_encrypted() ? 1 : 0;
}

kvault_status kvault_client_namespaces(kvault_client* client, kvault_namespace_visitor visitor,
                                       void* user, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(client, "client"));
    if (visitor == nullptr) return fail(Errc::invalid_argument, "visitor is NULL");
    KVAULT_TRY(const kvault::client::Stats stats, client->client.stats());
    for (const kvault::client::NamespaceUse& use : stats.namespaces) {
      kvault_namespace_info info{};
      std::copy_n(use.name.data(), std::min(use.name.size(), sizeof(info.name) - 1), info.name);
      info.n_client = use.n_client;
      info.size_bytes = use.size_bytes;
      if (visitor(&info, user) == 0) return {};
    }
    return {};
  });
}

kvault_status kvault_client_remove_namespace(kvault_client* client, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(client, "client"));
    if (!client->sessions.empty()) {
      return fail(Errc::busy,
                  message(client->sessions.size(), " sessions of this client are open"));
    }
    return client->client.remove_namespace();
  });
}

void kvault_client_disconnect(kvault_client* client) {
  if (client == nullptr) return;
  for (kvault_session* session : client->sessions) {
    session->client = nullptr;
    session->cache.reset();
    session->stored.reset();
  }
  delete client;
}

kvault_status kvault_client_list(kvault_client* client, kvault_session_visitor visitor, void* user,
                                 kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(client, "client"));
    if (visitor == nullptr) return fail(Errc::invalid_argument, "visitor is NULL");
    KVAULT_TRY(const auto sessions, client->client.list());
    for (const kvault::client::SessionInfo& session : sessions) {
      const kvault_session_info info = kvault::c::to_session_info(session);
      if (visitor(&info, user) == 0) break;
    }
    return {};
  });
}

kvault_status kvault_client_delete(kvault_client* client, const char* name_or_id,
                                   kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(client, "client"));
    KVAULT_CHECK(require(name_or_id, "name_or_id"));
    return client->client.delete_session(name_or_id);
  });
}

kvault_status kvault_client_destroy(kvault_client* client, const char* name_or_id,
                                    kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(client, "client"));
    KVAULT_CHECK(require(name_or_id, "name_or_id"));
    return client->client.destroy_session(name_or_id);
  });
}

kvault_status kvault_client_update(kvault_client* client, const char* name_or_id,
                                   const kvault_session_update* update, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(client, "client"));
    KVAULT_CHECK(require(name_or_id, "name_or_id"));
    KVAULT_TRY(const kvault_session_update given, kvault::c::read_options(update, "update"));
    KVAULT_TRY(const kvault::client::SessionChange change, to_change(given));
    KVAULT_CHECK(client->client.update_session(name_or_id, change));
    return {};
  });
}

kvault_status kvault_client_fork(kvault_client* client, const char* name_or_id, uint64_t n_token,
                                 const char* new_name, kvault_kept* out_kept, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    if (out_kept != nullptr) *out_kept = {};
    KVAULT_CHECK(require(client, "client"));
    KVAULT_CHECK(require(name_or_id, "name_or_id"));
    KVAULT_CHECK(require(new_name, "new_name"));
    if (n_token == UINT64_MAX) {
      KVAULT_TRY(const kvault::client::Session source, client->client.inspect(name_or_id));
      n_token = source.info.n_token;
    }
    KVAULT_TRY(const kvault::client::Fork fork,
               client->client.fork_session(name_or_id, n_token, new_name));
    if (out_kept != nullptr) *out_kept = {fork.kept.n_token, fork.kept.exact ? 1U : 0U, 0};
    return {};
  });
}

kvault_status kvault_client_stats(kvault_client* client, kvault_daemon_stats* out_stats,
                                  kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(client, "client"));
    KVAULT_TRY(kvault_daemon_stats result, kvault::c::read_options(out_stats));
    KVAULT_TRY(const kvault::client::Stats stats, client->client.stats());
    const std::uint32_t given_bytes = result.struct_size;
    result = to_daemon_stats(stats);
    result.struct_size = given_bytes;
    std::memcpy(out_stats, &result, std::min<std::size_t>(given_bytes, sizeof(result)));
    return {};
  });
}

kvault_status kvault_client_verify(kvault_client* client, const char* name_or_id,
                                   kvault_verify_report* out_report, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(client, "client"));
    KVAULT_CHECK(require(out_report, "out_report"));
    *out_report = {};
    std::optional<std::string_view> which;
    if (name_or_id != nullptr) which = name_or_id;
    KVAULT_TRY(const kvault::client::VerifyReport report, client->client.verify(which));
    *out_report = {report.n_record, report.n_damage, report.bytes};
    return {};
  });
}

kvault_status kvault_client_repair(kvault_client* client, const char* name_or_id,
                                   kvault_verify_report* out_report, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(client, "client"));
    KVAULT_CHECK(require(name_or_id, "name_or_id"));
    KVAULT_CHECK(require(out_report, "out_report"));
    *out_report = {};
    KVAULT_TRY(const kvault::client::VerifyReport report, client->client.repair(name_or_id));
    *out_report = {report.n_record, report.n_damage, report.bytes};
    return {};
  });
}

kvault_status kvault_client_shutdown(kvault_client* client, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(client, "client"));
    return client->client.shutdown();
  });
}

kvault_status kvault_client_export(kvault_client* client, const char* name_or_id, const char* path,
                                   kvault_progress progress, void* user, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(client, "client"));
    KVAULT_CHECK(require(name_or_id, "name_or_id"));
    KVAULT_CHECK(require(path, "path"));
    return kvault::export_session(client->client, name_or_id, path, to_progress(progress, user));
  });
}

kvault_status kvault_client_import(kvault_client* client, const char* path, const char* new_name,
                                   kvault_progress progress, void* user,
                                   kvault_session_info* out_info, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    if (out_info != nullptr) *out_info = {};
    KVAULT_CHECK(require(client, "client"));
    KVAULT_CHECK(require(path, "path"));
    std::optional<std::string> name;
    if (new_name != nullptr) name = new_name;
    KVAULT_TRY(const kvault::client::SessionInfo info,
               kvault::import_session(client->client, path, name, to_progress(progress, user)));
    if (out_info != nullptr) *out_info = kvault::c::to_session_info(info);
    return {};
  });
}

}  // extern "C"
