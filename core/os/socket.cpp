#include "core/os/socket.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string>
#include <thread>

namespace kvault {
namespace {

/// Connections the kernel queues before accept() takes them.
constexpr int kBacklog = 64;

std::string describe(int error) { return message(std::strerror(error), " (errno ", error, ")"); }

Errc code_of(int error) {
  switch (error) {
    case ENOENT:
    case ECONNREFUSED:
      return Errc::unreachable;
    case EPIPE:
    case ECONNRESET:
      return Errc::disconnected;
    case EACCES:
    case EPERM:
      return Errc::permission;
    case ENOMEM:
    case ENOBUFS:
      return Errc::out_of_memory;
    default:
      return Errc::io;
  }
}

/// Waits until the socket is ready for `events` or has failed.
Result<> wait_for(int descriptor, short events, Deadline deadline) {
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now())
            .count();
    if (left <= 0) return fail(Errc::timeout, "the other side did not answer in time");
    pollfd poll_entry{.fd = descriptor, .events = events, .revents = 0};
    const auto limit = static_cast<long long>(std::numeric_limits<int>::max());
    const int wait_ms = static_cast<int>(std::min<long long>(left, limit));
    const int ready = ::poll(&poll_entry, 1, wait_ms);
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) {
      return fail(Errc::io, message("poll: ", describe(errno)));
    }
  }
}

Result<Socket> new_socket() {
  const int descriptor = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return fail(code_of(errno), message("socket: ", describe(errno)));
  return Socket(descriptor);
}

/// pre: check_socket_path(path) holds.
sockaddr_un address_of(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string& text = path.native();
  std::memcpy(address.sun_path, text.data(), std::min(text.size(), sizeof address.sun_path - 1));
  return address;
}

}  // namespace

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    close();
    descriptor_ = std::exchange(other.descriptor_, -1);
  }
  return *this;
}

Socket::~Socket() { close(); }

Result<Socket> Socket::duplicate() const {
  const int descriptor = ::fcntl(descriptor_, F_DUPFD_CLOEXEC, 0);
  if (descriptor < 0) {
    return fail(Errc::io, message("cannot duplicate a socket: errno ", errno));
  }
  return Socket(descriptor);
}

void Socket::close() noexcept {
  if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
}

Result<std::size_t> Socket::send_some(std::span<const std::byte> bytes, Deadline deadline) {
  for (;;) {
    const ssize_t sent = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) return static_cast<std::size_t>(sent);
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) {
      return fail(code_of(errno), message("send: ", describe(errno)));
    }
    KVAULT_CHECK(wait_for(descriptor_, POLLOUT, deadline));
  }
}

Result<std::size_t> Socket::receive_some(std::span<std::byte> target, Deadline deadline) {
  const auto awake_until = std::chrono::steady_clock::now() + kAwakeTime;
  for (;;) {
    const ssize_t received = ::recv(descriptor_, target.data(), target.size(), 0);
    if (received > 0) return static_cast<std::size_t>(received);
    if (received == 0) return fail(Errc::disconnected, "the other side closed the connection");
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) {
      return fail(code_of(errno), message("receive: ", describe(errno)));
    }
    // An answer that is on its way is there sooner than a processor that slept is awake.
    if (std::chrono::steady_clock::now() < awake_until) {
      std::this_thread::yield();
      continue;
    }
    KVAULT_CHECK(wait_for(descriptor_, POLLIN, deadline));
  }
}

Result<> check_socket_path(const std::filesystem::path& path) {
  const std::size_t limit = sizeof(sockaddr_un{}.sun_path) - 1;
  if (path.empty() || !path.is_absolute()) {
    return fail(Errc::invalid_argument,
                message("the socket path '", path.native(), "' is not absolute"));
  }
  if (path.native().size() > limit) {
    return fail(Errc::invalid_argument,
                message("the socket path '", path.native(), "' has ", path.native().size(),
                        " bytes; the operating system takes ", limit));
  }
  return {};
}

Result<Socket> connect_local(const std::filesystem::path& path, Deadline deadline) {
  KVAULT_CHECK(check_socket_path(path));
  KVAULT_TRY(Socket socket, new_socket());
  const sockaddr_un address = address_of(path);
  for (;;) {
    const int rc =
        ::connect(socket.descriptor(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    if (rc == 0 || errno == EISCONN) return socket;
    const int error = errno;
    if (error == EINTR) continue;
    if (error != EAGAIN && error != EINPROGRESS) {
      return fail(code_of(error), message("no daemon at ", path.native(), ": ", describe(error)));
    }
    // EAGAIN: the listener's backlog is full; there is nothing to poll for.
    if (std::chrono::steady_clock::now() >= deadline) {
      return fail(Errc::timeout, message("the daemon at ", path.native(), " does not accept"));
    }
    ::poll(nullptr, 0, 5);
  }
}

Result<Socket> listen_local(const std::filesystem::path& path) {
  KVAULT_CHECK(check_socket_path(path));
  KVAULT_TRY(Socket socket, new_socket());
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return fail(code_of(errno), message("cannot remove ", path.native(), ": ", describe(errno)));
  }
  // Between bind and chmod the directory's mode, 0700, keeps others out; umask is process-wide.
  const sockaddr_un address = address_of(path);
  if (::bind(socket.descriptor(), reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
      0) {
    return fail(errno == ENOENT ? Errc::not_found : code_of(errno),
                message("cannot bind ", path.native(), ": ", describe(errno)));
  }
  if (::chmod(path.c_str(), S_IRUSR | S_IWUSR) != 0) {
    return fail(code_of(errno),
                message("cannot set 0600 on ", path.native(), ": ", describe(errno)));
  }
  if (::listen(socket.descriptor(), kBacklog) != 0) {
    return fail(code_of(errno), message("cannot listen at ", path.native(), ": ", describe(errno)));
  }
  return socket;
}

}  // namespace kvault
