#include "core/os/peer.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace kvault {

Result<PeerCredentials> peer_credentials(int descriptor) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return fail(Errc::io, message("SO_PEERCRED: ", std::strerror(errno)));
  }
  return PeerCredentials{.user_id = credentials.uid, .process_id = credentials.pid};
}

Result<PeerCredentials> require_same_user(int descriptor) {
  KVAULT_TRY(const PeerCredentials peer, peer_credentials(descriptor));
  const std::uint32_t own_user_id = ::geteuid();
  if (peer.user_id != own_user_id) {
    return fail(Errc::permission, message("the peer (process ", peer.process_id, ") is user ",
                                          peer.user_id, ", this process is user ", own_user_id));
  }
  return peer;
}

}  // namespace kvault
