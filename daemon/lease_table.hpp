#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "core/format/record.hpp"
#include "daemon/connection.hpp"

namespace kvault {

/// Who writes which session: at most one connection each. Loop thread only.
class LeaseTable {
 public:
  struct Holder {
    ConnectionId connection = 0;
    std::string app_name;
    std::int32_t process_id = 0;
  };

  /// Errc::busy, naming the holder, where the session has one, be it the same connection.
  Result<> acquire(const SessionId& session, Holder holder) {
    const auto [entry, is_new] = holders_.try_emplace(session, std::move(holder));
    if (is_new) return {};
    const Holder& other = entry->second;
    return fail(Errc::busy, message("session ", to_hex(session), " is written by ", other.app_name,
                                    " (process ", other.process_id, ")"));
  }

  bool is_held_by(const SessionId& session, ConnectionId connection) const {
    const auto entry = holders_.find(session);
    return entry != holders_.end() && entry->second.connection == connection;
  }

  bool is_holder(ConnectionId connection) const {
    return std::any_of(holders_.begin(), holders_.end(),
                       [&](const auto& entry) { return entry.second.connection == connection; });
  }

  /// Nothing happens where another connection holds it.
  void release(const SessionId& session, ConnectionId connection) {
    if (is_held_by(session, connection)) holders_.erase(session);
  }

  void release_all(ConnectionId connection) {
    std::erase_if(holders_,
                  [&](const auto& entry) { return entry.second.connection == connection; });
  }

 private:
  std::map<SessionId, Holder> holders_;
};

}  // namespace kvault
