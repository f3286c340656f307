#pragma once

#include "sdk/src/client_types.hpp"
#include "sdk/src/wire_convert.hpp"

/// What the daemon tells, from the wire's tables to the client's plain values.
namespace kvault::client {

SessionInfo from_wire(const wire::SessionInfo& info);
Stats from_wire(const wire::StatsOk& stats);

}  // namespace kvault::client
