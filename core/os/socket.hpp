#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <span>
#include <utility>

#include "core/base/result.hpp"

namespace kvault {

/// How long both ends of a connection look for the next message before they sleep: about what
/// waking an idle processor costs (docs/benchmarks/daemon.md).
inline constexpr std::chrono::microseconds kAwakeTime{50};

/// The moment after which a blocking call gives up with Errc::timeout.
using Deadline = std::chrono::steady_clock::time_point;

/// Owns the descriptor of a local (AF_UNIX) stream socket, close-on-exec and non-blocking; the
/// blocking calls wait in poll(). Move-only. No call raises SIGPIPE. One thread at a time.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int descriptor) : descriptor_(descriptor) {}
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Socket& operator=(Socket&& other) noexcept;
  ~Socket();

  bool is_open() const noexcept { return descriptor_ >= 0; }
  int descriptor() const noexcept { return descriptor_; }
  /// Gives the descriptor away; the caller closes it.
  int release() noexcept { return std::exchange(descriptor_, -1); }
  void close() noexcept;
  /// Another descriptor of the same socket.
  Result<Socket> duplicate() const;

  /// Sends a piece of `bytes` as soon as the other side takes any; how many bytes went out.
  Result<std::size_t> send_some(std::span<const std::byte> bytes, Deadline deadline);
  /// Receives what is there, at least one byte; how many came. Errc::disconnected at the end.
  Result<std::size_t> receive_some(std::span<std::byte> target, Deadline deadline);

 private:
  int descriptor_ = -1;
};

/// Connects to the socket at `path`. Errc::unreachable where nobody listens.
Result<Socket> connect_local(const std::filesystem::path& path, Deadline deadline);

/// Binds and listens at `path`, mode 0600. What lies at `path` is removed first: only the owner of
/// the lock beside the socket may call this.
Result<Socket> listen_local(const std::filesystem::path& path);

/// Whether a path fits the operating system's socket address (107 bytes on Linux).
Result<> check_socket_path(const std::filesystem::path& path);

}  // namespace kvault
