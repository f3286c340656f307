#pragma once

#include "kvault/kvault.h"
#include "sdk/src/client_types.hpp"

namespace kvault::c {

kvault_session_info to_session_info(const client::SessionInfo& info);

}  // namespace kvault::c
