#include "core/os/passed_socket.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

namespace kvault {
namespace {

/// The first descriptor that is passed: SD_LISTEN_FDS_START.
constexpr int kFirstDescriptor = 3;

std::string take_variable(const char* name) {
  const char* value = std::getenv(name);
  std::string text = value != nullptr ? value : "";
  ::unsetenv(name);
  return text;
}

tl::unexpected<Error> refuse(const std::string& why) {
  return fail(Errc::invalid_argument, message("the socket passed to this process ", why));
}

Result<int> option_of(int descriptor, int option) {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(descriptor, SOL_SOCKET, option, &value, &size) == 0) return value;
  return refuse(message("cannot be looked at: ", std::strerror(errno)));
}

Result<std::filesystem::path> path_of(int descriptor) {
  sockaddr_un address{};
  socklen_t size = sizeof address;
  if (::getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return refuse(message("has no name: ", std::strerror(errno)));
  }
  const std::size_t begin = offsetof(sockaddr_un, sun_path);
  const std::size_t n = size > begin ? std::min<std::size_t>(size, sizeof address) - begin : 0;
  const std::string path(address.sun_path, ::strnlen(address.sun_path, n));
  // An abstract socket (no path) has no directory that keeps other users out.
  if (path.empty() || path.front() != '/') return refuse("does not lie at an absolute path");
  return std::filesystem::path(path).lexically_normal();
}

Result<> check_listens(int descriptor) {
  KVAULT_TRY(const int domain, option_of(descriptor, SO_DOMAIN));
  KVAULT_TRY(const int type, option_of(descriptor, SO_TYPE));
  KVAULT_TRY(const int listens, option_of(descriptor, SO_ACCEPTCONN));
  if (domain == AF_UNIX && type == SOCK_STREAM && listens != 0) return {};
  return refuse(message("is of domain ", domain, ", type ", type,
                        listens != 0 ? "" : " and does not listen", "; local, stream and ",
                        "listening are asked for"));
}

/// As every other Socket: not blocking, not inherited by children.
Result<> set_flags(int descriptor) {
  const int flags = ::fcntl(descriptor, F_GETFL);
  if (flags >= 0 && ::fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) == 0 &&
      ::fcntl(descriptor, F_SETFD, FD_CLOEXEC) == 0) {
    return {};
  }
  return refuse(message("cannot be set up: ", std::strerror(errno)));
}

}  // namespace

Result<std::optional<PassedSocket>> take_passed_socket() {
  const std::string process = take_variable("LISTEN_PID");
  const std::string count = take_variable("LISTEN_FDS");
  take_variable("LISTEN_FDNAMES");
  // Meant for a parent that left its variables behind.
  if (process != std::to_string(::getpid())) return std::optional<PassedSocket>();
  if (count != "1") {
    return fail(Errc::invalid_argument,
                message("LISTEN_FDS is '", count, "'; one socket is asked for"));
  }
  KVAULT_CHECK(check_listens(kFirstDescriptor));
  KVAULT_TRY(std::filesystem::path path, path_of(kFirstDescriptor));
  KVAULT_CHECK(set_flags(kFirstDescriptor));
  return std::optional<PassedSocket>(PassedSocket{Socket(kFirstDescriptor), std::move(path)});
}

}  // namespace kvault
