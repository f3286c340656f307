#pragma once

#include <chrono>
#include <cstdint>

#include "core/base/result.hpp"
#include "sdk/src/client_types.hpp"

namespace kvault {

/// How far a restore has come: tells the app, which may cancel it, and knows when it is too late.
class RestoreMeter {
 public:
  /// The time begins now. deadline_ms = 0: there is none.
  RestoreMeter(client::Progress progress, std::uint32_t deadline_ms);

  void set_total(std::uint64_t total_bytes) { total_bytes_ = total_bytes; }
  /// `bytes` of the layer in hand are loaded. Errc::cancelled, timeout.
  Result<> report(std::uint64_t bytes) const;
  /// A layer of this many bytes is loaded for good; what only report() has seen is not.
  void finish_layer(std::uint64_t bytes) { done_bytes_ += bytes; }

 private:
  client::Progress progress_;
  std::chrono::steady_clock::time_point begin_;
  std::chrono::milliseconds limit_;
  std::uint64_t done_bytes_ = 0;
  std::uint64_t total_bytes_ = 0;
};

}  // namespace kvault
