#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "sdk/src/c_boundary.hpp"
#include "sdk/src/c_session_info.hpp"
#include "sdk/src/client_handle.hpp"

// The C interface of the connection to kvaultd.

using kvault::Errc;
using kvault::fail;
using kvault::message;
using kvault::Result;
using kvault::c::guard;
using kvault::c::require;

namespace {

kvault::ClientOptions to_client_options(const kvault_client_options& options) {
  kvault::ClientOptions result;
  if (options.socket_path != nullptr) result.socket_path = options.socket_path;
  if (options.data_directory != nullptr) result.data_directory = options.data_directory;
  if (options.daemon_path != nullptr) result.daemon_path = options.daemon_path;
  if (options.app_name != nullptr) result.app_name = options.app_name;
  result.auto_start = options.no_auto_start == 0;
  if (options.timeout_ms != 0) result.request_timeout_ms = options.timeout_ms;
  return result;
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
  result.last_used_unix_s = static_cast<std::int64_t>(info.committed_at_s);
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
    KVAULT_TRY(kvault::Client client, kvault::Client::connect(to_client_options(given)));
    *out_client = new kvault_client{std::move(client), {}};
    return {};
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

kvault_status kvault_client_stats(kvault_client* client, kvault_daemon_stats* out_stats,
                                  kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(client, "client"));
    KVAULT_TRY(kvault_daemon_stats result, kvault::c::read_options(out_stats));
    KVAULT_TRY(const kvault::client::Stats stats, client->client.stats());
    const std::uint32_t given_bytes = result.struct_size;
    result = {given_bytes,        static_cast<std::uint32_t>(stats.n_session),
              stats.n_connection, 0,
              stats.live_bytes,   stats.pack_bytes};
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

kvault_status kvault_client_shutdown(kvault_client* client, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(client, "client"));
    return client->client.shutdown();
  });
}

}  // extern "C"
