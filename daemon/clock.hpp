#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace kvault {

/// The wall clock; 0 where it stands before 1970.
inline std::uint64_t seconds_since_1970() {
  const auto elapsed = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(elapsed).count();
  return static_cast<std::uint64_t>(std::max<std::int64_t>(seconds, 0));
}

}  // namespace kvault
