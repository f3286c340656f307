#pragma once

#include <doctest/doctest.h>

#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "sdk/src/frame_channel.hpp"
#include "sdk/src/wire_convert.hpp"
#include "tests/e2e/daemon_process.hpp"
#include "tests/e2e/daemon_records.hpp"

namespace kvault::test {

/// A client that says whatever the test wants said.
class RawClient {
 public:
  explicit RawClient(const Daemon& daemon) {
    Result<Socket> socket = connect_local(daemon.socket_path(), in_ms(5000));
    REQUIRE_OK(socket);
    socket_ = std::move(*socket);
  }

  static Deadline in_ms(int ms) {
    return std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
  }

  /// False once the daemon has hung up.
  bool send(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const Result<std::size_t> sent = socket_.send_some(bytes, in_ms(10'000));
      if (!sent) return false;
      bytes = bytes.subspan(*sent);
    }
    return true;
  }

  /// Sends until the daemon takes nothing for a second; how many bytes went out.
  std::size_t send_what_fits(std::span<const std::byte> bytes) {
    std::size_t n_sent = 0;
    while (n_sent < bytes.size()) {
      const Result<std::size_t> sent = socket_.send_some(bytes.subspan(n_sent), in_ms(1000));
      if (!sent) break;
      n_sent += *sent;
    }
    return n_sent;
  }

  template <class Make>
  bool send(wire::FrameHeader header, Make make) {
    return send(wire::make_message(header, make).value());
  }

  bool send_data(std::uint64_t record, std::uint64_t offset, std::span<const std::byte> body) {
    const wire::FrameHeader header{.version = 1,
                                   .type = wire::MessageType::data,
                                   .request_id = record,
                                   .payload_offset = offset};
    return send(wire::make_frame(header, body).value());
  }

  /// The next frame; empty once the daemon has hung up.
  std::optional<IncomingFrame> receive() {
    std::array<std::byte, wire::kHeaderSize> head;
    if (!fill(head)) return std::nullopt;
    IncomingFrame frame;
    frame.header = wire::decode_header(head).value();
    frame.body.resize(frame.header.body_size);
    REQUIRE(fill(frame.body));
    return frame;
  }

  /// The error of the next frame, which must be one.
  Error receive_error() {
    const std::optional<IncomingFrame> frame = receive();
    REQUIRE(frame.has_value());
    REQUIRE(frame->header.is_error());
    return wire::decode_refusal(frame->body);
  }

  bool is_hung_up() { return !receive().has_value(); }

  void hello(std::uint32_t proto_min = 1, std::uint32_t proto_max = 1) {
    send({.type = wire::MessageType::hello, .request_id = 1}, [&](wire::Builder& builder) {
      const auto name = builder.CreateString("raw");
      return wire::CreateHello(builder, proto_min, proto_max, name);
    });
  }
  void greet() {
    hello();
    const std::optional<IncomingFrame> answer = receive();
    REQUIRE(answer.has_value());
    REQUIRE_FALSE(answer->header.is_error());
  }

  void open(const SessionDescription& description) {
    send({.version = 1, .type = wire::MessageType::open_session, .request_id = 2},
         [&](wire::Builder& builder) {
           return wire::CreateOpenSession(builder, builder.CreateString(description.name),
                                          wire::to_wire(builder, description), true);
         });
    const std::optional<IncomingFrame> answer = receive();
    REQUIRE(answer.has_value());
    REQUIRE_FALSE(answer->header.is_error());
  }
  void begin(std::uint64_t record, const SessionId& session, const RecordDraft& draft) {
    send({.version = 1, .type = wire::MessageType::begin_record, .request_id = record},
         [&](wire::Builder& builder) { return wire::to_wire(builder, session, draft); });
  }

  void close() { socket_.close(); }

 private:
  bool fill(std::span<std::byte> target) {
    while (!target.empty()) {
      const Result<std::size_t> size = socket_.receive_some(target, in_ms(20'000));
      if (!size) {
        REQUIRE(size.error().code == Errc::disconnected);
        return false;
      }
      target = target.subspan(*size);
    }
    return true;
  }

  Socket socket_;
};

}  // namespace kvault::test
