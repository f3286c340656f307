#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "core/base/result.hpp"

namespace kvault {

/// 16 random bytes that name a session for ever.
struct SessionId {
  std::array<std::byte, 16> bytes{};
  friend bool operator==(const SessionId&, const SessionId&) = default;
  friend bool operator<(const SessionId& a, const SessionId& b) { return a.bytes < b.bytes; }
};

/// 32 lower-case hexadecimal digits, and back (Errc::invalid_argument).
std::string to_hex(const SessionId& id);
Result<SessionId> session_id_from_hex(std::string_view text);

}  // namespace kvault
