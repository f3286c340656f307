#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <spdlog/logger.h>

#include "core/base/result.hpp"
#include "core/os/lock.hpp"
#include "core/os/socket.hpp"
#include "daemon/connection.hpp"
#include "daemon/conversation.hpp"
#include "daemon/lease_table.hpp"
#include "daemon/storage_thread.hpp"
#include "daemon/uv_handle.hpp"

namespace kvault {

struct ServerOptions {
  std::filesystem::path data_directory;  ///< absolute
  std::filesystem::path socket_path;     ///< absolute
  /// Exit after so long without a client; 0: never.
  std::chrono::seconds idle_exit{0};
  /// What the data directory may hold; 0: no limit.
  std::uint64_t quota_bytes = 0;
  /// Listens at socket_path already, made by who started us, whose file it is. Not open: the
  /// server makes and removes one.
  Socket passed_socket{};
};

/// kvaultd: the listener, its clients, and the storage thread behind them. The loop thread never
/// touches the disk. One instance per data directory and per socket, by locks.
class Server final : public ConnectionOwner, public ConversationHost {
 public:
  /// Opens the store, then listens. Errc::busy where another kvaultd holds the data directory or
  /// the socket.
  static Result<std::unique_ptr<Server>> create(ServerOptions options, spdlog::logger& log);
  ~Server() override;

  /// Serves until stop(), SIGTERM or SIGINT: takes no new client, finishes what is queued, answers
  /// it, returns.
  void run();
  void stop() override;
  bool is_stopping() const override { return stopping_; }

 private:
  struct Client {
    std::unique_ptr<Connection> connection;
    std::unique_ptr<Conversation> conversation;
    std::uint64_t accepted_at_ms = 0;
  };

  Server(ServerOptions options, spdlog::logger& log, UvLoop loop);
  Result<> lock_and_listen();
  void remove_socket_file();
  Result<> open_store();
  Result<> start_handles();
  /// Takes connections from now on, on a descriptor of its own: the socket outlives a pause.
  Result<> take_connections();

  // libuv callbacks
  void on_connection(int status);
  void on_wake();
  void on_tick();
  void maintain();

  void on_frame(Connection& connection, const wire::FrameHeader& header,
                std::vector<std::byte>& body) override;
  void on_broken_frame(Connection& connection, const Error& error) override;
  void on_output_taken(Connection& connection) override;
  void on_closed(Connection& connection) override;

  StorageThread& storage() override { return *storage_; }
  LeaseTable& leases() override { return leases_; }
  Conversation* find(ConnectionId id) override;
  const std::string& server_id() const override { return server_id_; }
  const std::string& data_directory() const override { return data_directory_; }
  std::uint64_t uptime_s() const override;
  std::uint32_t n_connection() const override {
    return static_cast<std::uint32_t>(clients_.size());
  }
  void log_greeting(const Connection& connection, const std::string& app_name) override;
  void log_opening(const std::string& namespace_name, const OpenReport& report) override;

  void finish_stopping();
  std::uint64_t now_ms() const { return uv_now(loop_.get()); }

  const ServerOptions options_;
  const std::string data_directory_;
  spdlog::logger& log_;
  std::string server_id_;
  std::optional<FileLock> socket_lock_;

  UvLoop loop_;  // before all handles
  Socket socket_;
  UvHandle<uv_pipe_t> listener_;
  UvHandle<uv_async_t> wake_;
  UvHandle<uv_timer_t> tick_;
  UvHandle<uv_signal_t> terminate_;
  UvHandle<uv_signal_t> interrupt_;

  LeaseTable leases_;
  std::map<ConnectionId, Client> clients_;
  std::vector<Client> gone_;  ///< closed inside one of their own callbacks; freed by on_wake
  ConnectionId next_connection_id_ = 1;
  std::uint64_t started_at_ms_ = 0;
  std::uint64_t last_client_at_ms_ = 0;
  std::uint64_t last_frame_at_ns_ = 0;  ///< by uv_hrtime()
  std::uint64_t maintain_at_ms_ = 0;    ///< when the store's next housekeeping is due
  bool is_maintaining_ = false;
  bool stopping_ = false;
  bool is_socket_passed_ = false;           ///< the socket file is not ours
  std::unique_ptr<StorageThread> storage_;  // last: joins before what its tasks refer to goes
};

}  // namespace kvault
