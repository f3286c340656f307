#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/result.hpp"

namespace kvault::tools {

/// What the demo's app tells the demo, one JSON object per line.
enum class EventKind : std::uint8_t {
  opened,    ///< the session is open, n_token long, after `milliseconds`
  progress,  ///< n_token tokens have been run
  replied,   ///< reply number `index` is `token`, its logits hash to `hash`
  saved,     ///< n_token tokens are safe, after `milliseconds`
  finished,  ///< n_token tokens whose ids hash to `hash`; the numbers below are set
};

/// Numbers of the finished chat.
struct FinalNumbers {
  std::uint64_t f16_bytes = 0;
  std::uint64_t cache_bytes = 0;
  double attention_error = 0;
  double control_error = 0;
};

struct DemoEvent {
  EventKind kind = EventKind::progress;
  std::uint64_t n_token = 0;
  std::uint64_t index = 0;
  std::uint32_t token = 0;
  std::uint64_t hash = 0;
  double milliseconds = 0;
  FinalNumbers numbers = {};
};

std::string to_line(const DemoEvent& event);
/// Errc::protocol for anything to_line() does not write.
Result<DemoEvent> parse_event(std::string_view line);

}  // namespace kvault::tools
