#pragma once

#include <cstdint>

#include "core/base/result.hpp"

namespace kvault {

/// Who is at the other end of a local socket, as the kernel recorded it when they connected.
struct PeerCredentials {
  std::uint32_t user_id = 0;
  std::int32_t process_id = 0;
};

Result<PeerCredentials> peer_credentials(int descriptor);

/// The peer's credentials where it runs as our own user; Errc::permission with both ids otherwise.
Result<PeerCredentials> require_same_user(int descriptor);

}  // namespace kvault
