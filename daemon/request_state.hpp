#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "core/base/result.hpp"

namespace kvault {

/// Whether somebody still waits for a request's answer. Made and cancelled on the loop thread,
/// asked on the storage thread.
class RequestState {
 public:
  /// patience_ms: counted from now; 0: for ever, and so is what is longer than a year.
  explicit RequestState(std::uint64_t patience_ms)
      : began_at_(std::chrono::steady_clock::now()),
        patience_(patience_ms > kPatienceMsMax ? 0 : static_cast<std::int64_t>(patience_ms)) {}

  void cancel() noexcept { is_cancelled_ = true; }

  /// Errc::cancelled, timeout.
  Result<> check() const {
    if (is_cancelled_) return fail(Errc::cancelled, "the request was cancelled");
    if (patience_.count() == 0) return {};
    const auto waited = std::chrono::steady_clock::now() - began_at_;
    if (waited < patience_) return {};
    return fail(Errc::timeout, message("the request was to be done within ", patience_.count(),
                                       " ms; others were before it"));
  }

 private:
  static constexpr std::uint64_t kPatienceMsMax = std::uint64_t{366} * 24 * 3600 * 1000;
  const std::chrono::steady_clock::time_point began_at_;
  const std::chrono::milliseconds patience_;
  std::atomic<bool> is_cancelled_ = false;
};

}  // namespace kvault
