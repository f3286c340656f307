#include "daemon/server.hpp"

#include <csignal>
#include <utility>

#include "core/base/assert.hpp"
#include "core/os/directory.hpp"
#include "core/os/process.hpp"

namespace kvault {
namespace {

constexpr std::uint64_t kTickMs = 500;
constexpr int kBacklog = 64;
/// A client that has begun a frame, or leaves its answers lying, must move within this time.
constexpr std::chrono::milliseconds kPatience{30'000};
/// The same while the daemon is stopping.
constexpr std::chrono::milliseconds kPatienceWhileStopping{2'000};
/// Housekeeping of the store; sooner while there is more to move.
constexpr std::uint64_t kMaintainMs = 30'000;
constexpr std::uint64_t kMaintainBusyMs = 200;
/// From connecting to the end of Hello.
constexpr std::uint64_t kGreetingMs = 10'000;
/// Connections above wire::kConnectionsMax that are told so; the ones above these are just closed.
constexpr std::size_t kRefusalsMax = 16;

Result<std::string> random_id() {
  std::array<unsigned char, 16> bytes;
  if (const int status = uv_random(nullptr, nullptr, bytes.data(), bytes.size(), 0, nullptr);
      status != 0) {
    return fail_uv("uv_random", status);
  }
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : bytes) {
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 15U];
  }
  return text;
}

Server& server_of(const uv_handle_t* handle) { return *static_cast<Server*>(handle->data); }

Result<UvHandle<uv_signal_t>> watch_signal(uv_loop_t* loop, Server* server, int number) {
  const auto init = [loop](uv_signal_t* handle) { return uv_signal_init(loop, handle); };
  KVAULT_TRY(UvHandle<uv_signal_t> handle, make_uv_handle<uv_signal_t>(server, init));
  const auto on_signal = [](uv_signal_t* self, int) {
    server_of(reinterpret_cast<uv_handle_t*>(self)).stop();
  };
  if (const int status = uv_signal_start(handle.get(), on_signal, number); status != 0) {
    return fail_uv("uv_signal_start", status);
  }
  return handle;
}

}  // namespace

Result<std::unique_ptr<Server>> Server::create(ServerOptions options, spdlog::logger& log) {
  KVAULT_TRY(UvLoop loop, UvLoop::create());
  Socket passed_socket = std::move(options.passed_socket);
  std::unique_ptr<Server> server(new Server(std::move(options), log, std::move(loop)));
  server->is_socket_passed_ = passed_socket.is_open();
  server->socket_ = std::move(passed_socket);
  KVAULT_TRY(server->server_id_, random_id());
  KVAULT_CHECK(server->lock_and_listen());
  KVAULT_CHECK(server->start_handles());
  KVAULT_CHECK(server->open_store());
  KVAULT_CHECK(server->take_connections());
  return server;
}

Server::Server(ServerOptions options, spdlog::logger& log, UvLoop loop)
    : options_(std::move(options)),
      data_directory_(options_.data_directory.native()),
      log_(log),
      loop_(std::move(loop)) {
  started_at_ms_ = last_client_at_ms_ = now_ms();
}

Server::~Server() {
  if (socket_.is_open()) remove_socket_file();
}

/// Ours as long as we hold the lock beside it, unless it was passed to us.
void Server::remove_socket_file() {
  if (!is_socket_passed_) (void)remove_file(options_.socket_path);
}

Result<> Server::lock_and_listen() {
  KVAULT_CHECK(check_socket_path(options_.socket_path));
  KVAULT_CHECK(make_private_directory(options_.data_directory));
  KVAULT_CHECK(make_private_directory(options_.socket_path.parent_path()));
  // The data directory has a lock of its own: Store::open() takes it.
  const std::filesystem::path lock_path(options_.socket_path.native() + ".lock");
  Result<FileLock> lock = FileLock::acquire(lock_path);
  if (!lock && lock.error().code == Errc::busy) {
    return fail(Errc::busy, message("another kvaultd is running: ", lock.error().message));
  }
  if (!lock) return tl::unexpected<Error>(std::move(lock).error());
  socket_lock_ = std::move(*lock);
  if (is_socket_passed_) return {};
  // Clients that come before the store is open wait in the socket's backlog.
  KVAULT_TRY(socket_, listen_local(options_.socket_path));
  return {};
}

Result<> Server::start_handles() {
  uv_loop_t* loop = loop_.get();
  const auto on_wake = [](uv_async_t* self) {
    server_of(reinterpret_cast<uv_handle_t*>(self)).on_wake();
  };
  KVAULT_TRY(wake_, make_uv_handle<uv_async_t>(this, [&](uv_async_t* handle) {
               return uv_async_init(loop, handle, on_wake);
             }));
  KVAULT_TRY(tick_, make_uv_handle<uv_timer_t>(
                        this, [loop](uv_timer_t* timer) { return uv_timer_init(loop, timer); }));
  const auto on_tick = [](uv_timer_t* self) {
    server_of(reinterpret_cast<uv_handle_t*>(self)).on_tick();
  };
  if (const int status = uv_timer_start(tick_.get(), on_tick, kTickMs, kTickMs); status != 0) {
    return fail_uv("uv_timer_start", status);
  }
  KVAULT_TRY(terminate_, watch_signal(loop, this, SIGTERM));
  KVAULT_TRY(interrupt_, watch_signal(loop, this, SIGINT));
  return {};
}

Result<> Server::take_connections() {
  KVAULT_TRY(Socket socket, socket_.duplicate());
  KVAULT_TRY(UvHandle<uv_pipe_t> pipe, make_uv_handle<uv_pipe_t>(this, [this](uv_pipe_t* handle) {
               return uv_pipe_init(loop_.get(), handle, 0);
             }));
  if (const int status = uv_pipe_open(pipe.get(), socket.descriptor()); status != 0) {
    return fail_uv("uv_pipe_open", status);
  }
  [[maybe_unused]] const int owned_by_pipe = socket.release();
  const auto on_connection = [](uv_stream_t* listener, int status) {
    server_of(reinterpret_cast<uv_handle_t*>(listener)).on_connection(status);
  };
  auto* listener = reinterpret_cast<uv_stream_t*>(pipe.get());
  if (const int status = uv_listen(listener, kBacklog, on_connection); status != 0) {
    return fail_uv("listen", status);
  }
  listener_ = std::move(pipe);
  return {};
}

Result<> Server::open_store() {
  StoreOptions options;
  options.directory = options_.data_directory;
  options.quota_bytes = options_.quota_bytes;
  Result<std::unique_ptr<Stores>> opened = Stores::open(std::move(options));
  if (!opened && opened.error().code == Errc::busy) {
    return fail(Errc::busy, message("another kvaultd is running: ", opened.error().message));
  }
  if (!opened) return tl::unexpected<Error>(std::move(opened).error());
  log_opening("", (*opened)->at(kSharedStore).open_report());
  uv_async_t* wake = wake_.get();
  storage_ = std::make_unique<StorageThread>(std::move(*opened), [wake] { uv_async_send(wake); });
  return {};
}

void Server::log_opening(const std::string& namespace_name, const OpenReport& report) {
  const std::string name = namespace_name.empty() ? data_directory_ : namespace_name;
  log_.info("store {}: {} sessions, {} packs deleted", name, report.n_session,
            report.n_pack_deleted);
  if (report.is_catalog_rebuilt) log_.warn("catalog rebuilt: {}", report.rebuild_reason);
  if (!report.quarantined_catalog.empty()) {
    log_.warn("the damaged catalog is kept as {}", report.quarantined_catalog.native());
  }
  for (const std::string& sentence : report.damage) log_.error("damage: {}", sentence);
}

void Server::run() {
  log_.info("kvaultd {} listens at {}", KVAULT_VERSION_STRING, options_.socket_path.native());
  constexpr std::uint64_t kAwakeNs = std::chrono::nanoseconds(kAwakeTime).count();
  while (uv_loop_alive(loop_.get()) != 0) {
    // While the storage thread works its processor is not ours to keep: where there are two, the
    // client that waits may have the other.
    const bool is_awake = storage_->n_pending() == 0 && uv_hrtime() - last_frame_at_ns_ < kAwakeNs;
    uv_run(loop_.get(), is_awake ? UV_RUN_NOWAIT : UV_RUN_ONCE);
  }
  log_.info("kvaultd ends after {} s", uptime_s());
}

void Server::on_connection(int status) {
  auto* listener = reinterpret_cast<uv_stream_t*>(listener_.get());
  if (status != 0) {
    // libuv would try again at once, and for ever: who waits is served after the next tick.
    log_.warn("cannot take a connection: {}", uv_strerror(status));
    listener_.reset();
    return;
  }
  const ConnectionId id = next_connection_id_++;
  Result<std::unique_ptr<Connection>> accepted = Connection::accept(listener, id, *this);
  if (!accepted) {
    log_.warn("connection {} refused: {}", id, accepted.error().message);
    return;
  }
  const std::size_t n_before = clients_.size();
  if (n_before >= wire::kConnectionsMax + kRefusalsMax) return;
  auto conversation = std::make_unique<Conversation>(**accepted, *this);
  Client& client = clients_[id];
  client = Client{std::move(*accepted), std::move(conversation), now_ms()};
  log_.debug("connection {}: process {}", id, client.connection->peer().process_id);
  if (n_before >= wire::kConnectionsMax) {
    client.conversation->say_goodbye(
        Error{Errc::busy,
              message(n_before, " clients are connected; the most is ", wire::kConnectionsMax)});
    return;
  }
  client.connection->resume_reading();
}

void Server::on_frame(Connection& connection, const wire::FrameHeader& header,
                      std::vector<std::byte>& body) {
  last_frame_at_ns_ = uv_hrtime();
  if (Conversation* conversation = find(connection.id())) conversation->on_frame(header, body);
}

void Server::on_broken_frame(Connection& connection, const Error& error) {
  log_.warn("connection {}: {}", connection.id(), error.message);
  if (Conversation* conversation = find(connection.id())) conversation->say_goodbye(error);
}

void Server::on_output_taken(Connection& connection) {
  if (stopping_) return;
  if (Conversation* conversation = find(connection.id())) conversation->update_reading();
}

void Server::on_closed(Connection& connection) {
  const auto entry = clients_.find(connection.id());
  KVAULT_ASSERT(entry != clients_.end());
  log_.debug("connection {}: over", connection.id());
  entry->second.conversation->on_closed();
  gone_.push_back(std::move(entry->second));
  clients_.erase(entry);
  last_client_at_ms_ = now_ms();
  uv_async_send(wake_.get());
}

Conversation* Server::find(ConnectionId id) {
  const auto entry = clients_.find(id);
  return entry == clients_.end() ? nullptr : entry->second.conversation.get();
}

std::uint64_t Server::uptime_s() const { return (now_ms() - started_at_ms_) / 1000; }

void Server::log_greeting(const Connection& connection, const std::string& app_name) {
  log_.info("connection {}: {} (process {})", connection.id(), app_name,
            connection.peer().process_id);
}

void Server::on_wake() {
  gone_.clear();
  storage_->finish_completed();
  if (stopping_) finish_stopping();
}

void Server::on_tick() {
  std::vector<ConnectionId> ids;
  for (const auto& [id, client] : clients_) ids.push_back(id);
  for (const ConnectionId id : ids) {
    const auto entry = clients_.find(id);
    if (entry == clients_.end()) continue;
    Client& client = entry->second;
    const bool is_late = now_ms() - client.accepted_at_ms > kGreetingMs;
    if (!client.conversation->has_greeted() && is_late) {
      client.connection->close();
    } else {
      client.connection->close_if_stuck(stopping_ ? kPatienceWhileStopping : kPatience);
    }
  }
  if (stopping_) return finish_stopping();
  if (!listener_) {
    if (const Result<> taken = take_connections(); !taken) log_.warn("{}", taken.error().message);
  }
  if (now_ms() >= maintain_at_ms_ && !is_maintaining_) maintain();
  const auto idle_ms = static_cast<std::uint64_t>(options_.idle_exit.count()) * 1000;
  if (idle_ms > 0 && clients_.empty() && now_ms() - last_client_at_ms_ >= idle_ms) {
    log_.info("no client for {} s", options_.idle_exit.count());
    stop();
  }
}

void Server::maintain() {
  is_maintaining_ = true;
  const auto run = [](Stores& stores) { return stores.maintain(); };
  storage_->submit(run, [this](const MaintainReport& done) {
    const MaintainReport* const report = &done;
    is_maintaining_ = false;
    maintain_at_ms_ = now_ms() + kMaintainMs;
    if (report->moved_bytes > 0) maintain_at_ms_ = now_ms() + kMaintainBusyMs;
    // Names may tell of what was said; ids do not.
    for (const SessionId& id : report->removed) log_.info("session {} removed", to_hex(id));
    for (const std::string& sentence : report->damage) log_.error("damage: {}", sentence);
    if (report->n_pack_deleted == 0 && report->moved_bytes == 0) return;
    log_.info("{} packs deleted, {} bytes moved", report->n_pack_deleted, report->moved_bytes);
  });
}

void Server::stop() {
  if (stopping_) return;
  stopping_ = true;
  log_.info("stopping: {} clients, {} tasks queued", clients_.size(), storage_->n_pending());
  // A client that connects from now on starts a daemon of its own, which waits for our locks; at a
  // socket that was passed to us it waits for the daemon that systemd starts next.
  remove_socket_file();
  listener_.reset();
  socket_.close();
  uv_async_send(wake_.get());
}

void Server::finish_stopping() {
  std::vector<ConnectionId> ids;
  for (auto& [id, client] : clients_) ids.push_back(id);
  const bool is_storage_done = storage_->n_pending() == 0;
  for (const ConnectionId id : ids) {
    const auto entry = clients_.find(id);
    if (entry == clients_.end()) continue;
    entry->second.connection->pause_reading();
    if (is_storage_done) entry->second.connection->close_after_output();
  }
  if (!clients_.empty() || storage_->n_pending() != 0) return;
  tick_.reset();
  terminate_.reset();
  interrupt_.reset();
  wake_.reset();  // the last handle: the loop ends
}

}  // namespace kvault
