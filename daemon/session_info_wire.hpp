#pragma once

#include "daemon/store.hpp"
#include "sdk/src/wire_convert.hpp"

namespace kvault {

/// A session as the wire tells of it.
flatbuffers::Offset<wire::SessionInfo> to_wire(wire::Builder& builder, const SessionInfo& info);
flatbuffers::Offset<wire::SessionOk> to_wire(wire::Builder& builder,
                                             const DescribedSession& session);

}  // namespace kvault
