#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/result.hpp"
#include "core/os/socket.hpp"
#include "sdk/src/wire.hpp"

namespace kvault {

/// A frame that came in. It may hold a key.
struct IncomingFrame {
  wire::FrameHeader header;
  WipedBytes body;
};

/// Blocking exchange of frames over a connected socket. Every error ends the channel: what comes
/// after a broken or late frame means nothing. Move-only; one thread at a time.
class FrameChannel {
 public:
  /// patience: the longest time without a byte moving.
  FrameChannel(Socket socket, std::chrono::milliseconds patience)
      : socket_(std::move(socket)), patience_(patience) {}

  bool is_open() const noexcept { return socket_.is_open(); }
  void close() noexcept { socket_.close(); }

  /// Where the daemon has hung up: the reason it gave, if it gave one.
  Result<> send(std::span<const std::byte> frame);
  /// The daemon's goodbye (an error frame with request id 0) comes as its error.
  /// patience: instead of the channel's own, for requests that take long.
  Result<IncomingFrame> receive(std::chrono::milliseconds patience);
  Result<IncomingFrame> receive() { return receive(patience_); }
  std::chrono::milliseconds patience() const noexcept { return patience_; }

 private:
  Result<> fill(std::span<std::byte> target, std::chrono::milliseconds patience);
  Result<IncomingFrame> receive_frame(std::chrono::milliseconds patience);

  Socket socket_;
  std::chrono::milliseconds patience_;
};

}  // namespace kvault
