#include <sodium.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <system_error>
#include <thread>
#include <utility>

#include "core/os/peer.hpp"
#include "core/os/process.hpp"
#include "sdk/src/client.hpp"

namespace kvault {
namespace {

namespace fs = std::filesystem;

/// The body of one data frame: below the cap, so that a credit of a few keeps both sides busy.
constexpr std::uint64_t kDataFrameBytes = 512U << 10U;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

Result<fs::path> find_daemon(const ClientOptions& options) {
  if (!options.daemon_path.empty()) return options.daemon_path;
  if (const char* path = std::getenv("KVAULTD"); path != nullptr && path[0] != '\0') {
    return fs::path(path);
  }
  const fs::path library = library_path().parent_path();
  const fs::path program = executable_path().parent_path();
  for (const fs::path& candidate : {library / "kvaultd", program / "kvaultd",
                                    library / "../bin/kvaultd", library / "../../bin/kvaultd"}) {
    if (candidate.is_absolute() && is_file(candidate)) return candidate.lexically_normal();
  }
  if (fs::path found = find_program("kvaultd"); !found.empty()) return found;
  return fail(Errc::unreachable,
              message("no kvaultd runs, and none to start was found in ", "$KVAULTD, ",
                      library.native(), ", ", program.native(), " and PATH"));
}

/// What kvaultd exits with where another one is already there (daemon/main.cpp).
constexpr int kExitAnotherRuns = 2;

/// Starts the daemon and waits until it serves (true), makes way for another one that starts or
/// ends at this moment (false), or fails with its words.
Result<bool> start_daemon(const ClientOptions& options, Deadline deadline) {
  KVAULT_TRY(const fs::path daemon, find_daemon(options));
  const std::array<std::string, 7> arguments{"--background",
                                             "--data-dir",
                                             options.data_directory.native(),
                                             "--socket",
                                             options.socket_path.native(),
                                             "--idle-exit",
                                             std::to_string(options.idle_exit_s)};
  std::string words;
  KVAULT_TRY(const int status, run_program(daemon, arguments, deadline, words));
  if (status == 0) return true;
  if (status == kExitAnotherRuns) return false;
  while (!words.empty() && words.back() == '\n') words.pop_back();
  return fail(Errc::unreachable,
              message(daemon.native(), " ended with status ", status, ": ", words));
}

/// Whether another attempt may go better: nobody listens, or the listener is just leaving.
bool is_passing(const Error& error) {
  return error.code == Errc::unreachable || error.code == Errc::disconnected;
}

Result<ClientOptions> complete(ClientOptions options) {
  std::error_code error;
  if (options.data_directory.empty()) {
    KVAULT_TRY(options.data_directory, default_data_directory());
  }
  options.data_directory = fs::absolute(options.data_directory, error).lexically_normal();
  if (options.socket_path.empty()) {
    KVAULT_TRY(options.socket_path, default_socket_path(options.data_directory));
  }
  options.socket_path = fs::absolute(options.socket_path, error).lexically_normal();
  if (error) return fail(Errc::io, message("no working directory: ", error.message()));
  return options;
}

}  // namespace

Result<Client> Client::connect(const ClientOptions& given) {
  if (sodium_init() < 0) return fail(Errc::internal, "libsodium does not start");
  KVAULT_TRY(const ClientOptions options, complete(given));
  const Deadline deadline =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(options.connect_timeout_ms);
  bool is_started = !options.auto_start;
  for (int pause_ms = 5;; pause_ms = std::min(2 * pause_ms, 200)) {
    Result<Client> client = connect_once(options, deadline);
    if (client || !is_passing(client.error())) return client;
    if (!options.auto_start || std::chrono::steady_clock::now() >= deadline) return client;
    if (!is_started) {
      KVAULT_TRY(is_started, start_daemon(options, deadline));
      if (is_started) continue;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
  }
}

Result<Client> Client::connect_once(const ClientOptions& options, Deadline deadline) {
  KVAULT_TRY(Socket socket, connect_local(options.socket_path, deadline));
  // Whoever can make a socket there is asked who they are before they are told anything.
  KVAULT_TRY([[maybe_unused]] const PeerCredentials daemon, require_same_user(socket.descriptor()));
  const std::chrono::milliseconds patience(std::max(options.request_timeout_ms, 1U));
  Client client(FrameChannel(std::move(socket), patience), options);
  KVAULT_CHECK(client.say_hello());
  return client;
}

Result<> Client::reconnect() {
  KVAULT_TRY(Client client, connect(options_));
  *this = std::move(client);
  return {};
}

Result<> Client::say_hello() {
  const ClientOptions& options = options_;
  const NamespaceOptions& wanted = options.name_space;
  const auto make = [&](flatbuffers::FlatBufferBuilder& builder) {
    const auto app_name = builder.CreateString(options.app_name);
    flatbuffers::Offset<flatbuffers::String> name;
    flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> token;
    if (!wanted.name.empty()) {
      name = builder.CreateString(wanted.name);
      token = wire::to_wire(builder, wanted.token);
    }
    return wire::CreateHello(builder, wire::kProtocolMin, wire::kProtocolMax, app_name, 0, name,
                             token, static_cast<std::uint8_t>(wanted.create));
  };
  KVAULT_TRY(const IncomingFrame answer,
             request(wire::MessageType::hello, make,
                     std::chrono::milliseconds(std::max(options.connect_timeout_ms, 1U))));
  KVAULT_TRY(const wire::HelloOk* hello, wire::verified<wire::HelloOk>(answer.body));
  if (hello->version() < wire::kProtocolMin || hello->version() > wire::kProtocolMax) {
    return fail(Errc::version,
                message("kvaultd has chosen protocol version ", hello->version(),
                        ", this library speaks ", wire::kProtocolMin, " to ", wire::kProtocolMax));
  }
  version_ = static_cast<std::uint16_t>(hello->version());
  server_id_ = hello->server_id()->str();
  data_directory_ = hello->data_directory()->str();
  credit_bytes_ = hello->credit_bytes();
  const std::uint64_t frame_bytes = std::min<std::uint64_t>(hello->body_size_max(), credit_bytes_);
  if (frame_bytes == 0) return fail(Errc::protocol, "kvaultd takes no data");
  data_frame_bytes_ = std::min(frame_bytes, kDataFrameBytes);
  n_request_max_ = std::max(hello->n_request_max(), 1U);
  n_record_pending_max_ = hello->n_record_pending_max();
  is_encrypted_ = hello->encrypted();
  const std::string entered =
      hello->namespace_name() == nullptr ? "" : hello->namespace_name()->str();
  if (entered != wanted.name) {
    return fail(Errc::version, message("this kvaultd knows no namespaces, and '", wanted.name,
                                       "' is asked for: it is too old"));
  }
  return {};
}

}  // namespace kvault
