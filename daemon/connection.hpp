#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/base/result.hpp"
#include "core/os/peer.hpp"
#include "daemon/uv_handle.hpp"
#include "sdk/src/wire.hpp"

namespace kvault {

using ConnectionId = std::uint64_t;
class Connection;

/// Whom a connection tells what has come. A call may close the connection; it stays a valid object
/// until the owner drops it, which must not happen inside one of these calls.
class ConnectionOwner {
 public:
  virtual ~ConnectionOwner() = default;
  /// A whole frame with a header in order. `body` may be moved from.
  virtual void on_frame(Connection& connection, const wire::FrameHeader& header,
                        std::vector<std::byte>& body) = 0;
  /// Bytes that are no frame; the owner answers and ends the connection.
  virtual void on_broken_frame(Connection& connection, const Error& error) = 0;
  /// The client has taken some of the queued output.
  virtual void on_output_taken(Connection& connection) = 0;
  /// The connection is over, whoever ended it. Called exactly once.
  virtual void on_closed(Connection& connection) = 0;
};

/// The transport of one client: frames in, frames out, nothing of their meaning. Reads one frame at
/// a time into memory of its own and never more than wire::kBodySizeMax. Loop thread only.
class Connection {
 public:
  /// Takes the next client off `listener`; Errc::permission where it is another user's.
  static Result<std::unique_ptr<Connection>> accept(uv_stream_t* listener, ConnectionId id,
                                                    ConnectionOwner& owner);

  ConnectionId id() const noexcept { return id_; }
  const PeerCredentials& peer() const noexcept { return peer_; }
  bool is_open() const noexcept { return pipe_ != nullptr && !closing_; }
  /// Bytes handed to send() that the client has not taken.
  std::size_t queued_output_bytes() const noexcept;

  /// Starts and stops taking frames; a paused client waits in its own send().
  void resume_reading();
  void pause_reading();

  /// Queues a frame. A closed connection swallows it.
  void send(wire::Frame frame);
  /// Sends what is queued, takes no more frames, then closes.
  void close_after_output();
  /// Ends the connection now; on_closed() follows at once.
  void close();

  /// To be called now and then: closes a client that has begun a frame, or owes the taking of our
  /// output, and has not moved for `patience`.
  void close_if_stuck(std::chrono::milliseconds patience);

 private:
  struct Write;

  Connection(ConnectionId id, ConnectionOwner& owner) : id_(id), owner_(owner) {}
  static void on_alloc(uv_handle_t* handle, std::size_t suggested, uv_buf_t* buffer);
  static void on_read(uv_stream_t* stream, ssize_t size, const uv_buf_t* buffer);
  static void on_written(uv_write_t* request, int status);
  void take(std::size_t size);
  uv_stream_t* stream() const noexcept { return reinterpret_cast<uv_stream_t*>(pipe_.get()); }
  bool is_within_frame() const noexcept { return has_header_ || n_filled_ > 0; }

  const ConnectionId id_;
  ConnectionOwner& owner_;
  PeerCredentials peer_;
  UvHandle<uv_pipe_t> pipe_;
  bool reading_ = false;
  bool closing_ = false;

  // The frame being read: its header, then its body.
  bool has_header_ = false;
  std::size_t n_filled_ = 0;
  std::array<std::byte, wire::kHeaderSize> header_bytes_{};
  wire::FrameHeader header_;
  std::vector<std::byte> body_;

  std::uint64_t moved_at_ms_ = 0;  ///< uv_now() when bytes last moved in either direction
};

}  // namespace kvault
