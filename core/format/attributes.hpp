#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "core/format/bytes.hpp"
#include "core/format/session_id.hpp"

namespace kvault {

inline constexpr std::size_t kLabelsMax = 32;
inline constexpr std::size_t kLabelSizeMax = 128;

/// 16 random bytes by which a request that is sent again is known.
using RequestKey = std::array<std::byte, 16>;

/// What is said about a session besides what it holds. Changes without a new state of the session;
/// stored in every commit record (docs/format.md, section 4).
struct SessionAttributes {
  bool is_pinned = false;             ///< never evicted
  std::uint64_t expires_at_s = 0;     ///< removed once the clock is past it; 0: never
  std::vector<std::string> labels{};  ///< unique and ascending
  SessionId forked_from{};            ///< zero where it is no fork
  std::uint64_t forked_at_token = 0;
  RequestKey made_by{};  ///< the request that led to the session's state; zero where it has no key
  friend bool operator==(const SessionAttributes&, const SessionAttributes&) = default;
};

/// Sorts the labels and drops what comes twice.
void normalise(SessionAttributes& attributes);
/// Labels are 1 to 128 bytes of UTF-8 without control characters, at most 32, unique and ascending.
/// Errc::invalid_argument, limit_exceeded.
Result<> check_attributes(const SessionAttributes& attributes);

/// pre: check_attributes() accepts them.
void put_attributes(ByteWriter& writer, const SessionAttributes& attributes);
/// Errc::corrupt, unknown_format.
Result<SessionAttributes> take_attributes(ByteReader& reader);

}  // namespace kvault
