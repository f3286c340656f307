#pragma once

#include <memory>
#include <vector>

#include "core/device/device.hpp"
#include "kvault/kvault.h"
#include "sdk/src/cache_handle.hpp"
#include "sdk/src/client.hpp"
#include "sdk/src/session.hpp"

/// What a kvault_client pointer points to. It knows its sessions, so that disconnecting first
/// closes them and leaves no session with a dangling client.
struct kvault_client {
  kvault::Client client;
  std::vector<kvault_session*> sessions;
};

/// What a kvault_session pointer points to. `stored` is empty once the client is disconnected.
struct kvault_session {
  kvault_client* client = nullptr;
  kvault::c::SharedDevice shared;
  std::unique_ptr<kvault::StoredCache> stored;
  std::unique_ptr<kvault_cache> cache;  ///< borrows from `stored`
};
