#include "daemon/predecessor.hpp"

#include <array>
#include <chrono>
#include <thread>
#include <vector>

#include "core/os/lock.hpp"
#include "core/os/peer.hpp"
#include "core/os/socket.hpp"
#include "sdk/src/wire.hpp"

namespace kvault {
namespace {

/// Longer than a stopping daemon waits for its clients (server.cpp), and a large commit besides.
constexpr std::chrono::seconds kPatience{30};

Result<> fill(Socket& socket, std::span<std::byte> target, Deadline deadline) {
  while (!target.empty()) {
    KVAULT_TRY(const std::size_t size, socket.receive_some(target, deadline));
    target = target.subspan(size);
  }
  return {};
}

/// Sends a request and reads its answer; the connection has nothing else under way.
Result<std::vector<std::byte>> ask(Socket& socket, const wire::Frame& request, Deadline deadline) {
  std::span<const std::byte> left = request;
  while (!left.empty()) {
    KVAULT_TRY(const std::size_t size, socket.send_some(left, deadline));
    left = left.subspan(size);
  }
  std::array<std::byte, wire::kHeaderSize> head;
  KVAULT_CHECK(fill(socket, head, deadline));
  KVAULT_TRY(const wire::FrameHeader header, wire::decode_header(head));
  std::vector<std::byte> body(header.body_size);
  KVAULT_CHECK(fill(socket, body, deadline));
  if (header.is_error()) return tl::unexpected<Error>(wire::decode_refusal(body));
  return body;
}

Result<> ask_to_end(const std::filesystem::path& socket_path, Deadline deadline) {
  KVAULT_TRY(Socket socket, connect_local(socket_path, deadline));
  KVAULT_TRY([[maybe_unused]] const PeerCredentials daemon, require_same_user(socket.descriptor()));
  wire::FrameHeader header{.type = wire::MessageType::hello, .request_id = 1};
  KVAULT_TRY(const wire::Frame hello,
             wire::make_message(header, [](flatbuffers::FlatBufferBuilder& builder) {
               const auto name = builder.CreateString("kvaultd");
               return wire::CreateHello(builder, wire::kProtocolMin, wire::kProtocolMax, name);
             }));
  KVAULT_TRY(const std::vector<std::byte> answer, ask(socket, hello, deadline));
  KVAULT_TRY(const wire::HelloOk* greeting, wire::verified<wire::HelloOk>(answer));
  header = {.version = static_cast<std::uint16_t>(greeting->version()),
            .type = wire::MessageType::shutdown,
            .request_id = 2};
  KVAULT_TRY(const wire::Frame shutdown,
             wire::make_message(header, [](flatbuffers::FlatBufferBuilder& builder) {
               return wire::CreateShutdown(builder);
             }));
  KVAULT_CHECK(ask(socket, shutdown, deadline));
  return {};
}

Result<bool> is_held(const std::filesystem::path& lock) {
  const Result<bool> held = is_locked(lock);
  if (held || held.error().code != Errc::not_found) return held;
  return false;
}

}  // namespace

Result<> end_predecessor(const std::filesystem::path& data_directory,
                         const std::filesystem::path& socket_path) {
  const Deadline deadline = std::chrono::steady_clock::now() + kPatience;
  const std::filesystem::path socket_lock(socket_path.native() + ".lock");
  // Without its owner a socket is stale, or one that systemd holds for us: nobody would answer.
  KVAULT_TRY(const bool is_there, is_held(socket_lock));
  if (is_there) {
    const Result<> asked = ask_to_end(socket_path, deadline);
    // It may be leaving already, or just be starting.
    if (!asked && asked.error().code != Errc::unreachable &&
        asked.error().code != Errc::disconnected) {
      return asked;
    }
  }
  for (const std::filesystem::path& lock : {socket_lock, data_directory / "lock"}) {
    for (;;) {
      KVAULT_TRY(const bool held, is_held(lock));
      if (!held) break;
      if (std::chrono::steady_clock::now() >= deadline) {
        return fail(Errc::timeout, message("another kvaultd still holds ", lock.native(), " after ",
                                           kPatience.count(), " s"));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  return {};
}

}  // namespace kvault
