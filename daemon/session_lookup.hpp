#pragma once

#include <string_view>
#include <utility>

#include "daemon/store.hpp"

namespace kvault {

/// The session that `text` means: an id in hexadecimal digits, or else a name.
inline Result<SessionInfo> find_session(Store& store, std::string_view text) {
  if (const Result<SessionId> id = session_id_from_hex(text)) {
    Result<SessionInfo> found = store.find_session(*id);
    if (found || found.error().code != Errc::not_found) return found;
  }
  return store.find_session_by_name(text);
}

/// The same with its description.
inline Result<DescribedSession> describe_session(Store& store, std::string_view text) {
  KVAULT_TRY(SessionInfo info, find_session(store, text));
  return store.describe(std::move(info));
}

}  // namespace kvault
