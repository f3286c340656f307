#pragma once

#include <filesystem>
#include <optional>

#include "core/base/result.hpp"
#include "core/os/socket.hpp"

namespace kvault {

/// A listening socket that whoever started this process has made for it.
struct PassedSocket {
  Socket socket;
  std::filesystem::path path;  ///< where it lies; the file belongs to who made it
};

/// Takes the socket that systemd passes by LISTEN_PID, LISTEN_FDS and descriptor 3; empty where
/// none was passed to this process. The variables are removed, so that no child finds them. Call it
/// once, before any thread or child exists. Errc::invalid_argument: what was passed is not one
/// local stream socket that listens at a path.
Result<std::optional<PassedSocket>> take_passed_socket();

}  // namespace kvault
