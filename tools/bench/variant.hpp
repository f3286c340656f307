#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "core/base/result.hpp"

namespace kvault::tools {

/// One of the things that are measured in turn. Used by one thread.
class Variant {
 public:
  Variant() = default;
  Variant(const Variant&) = delete;
  Variant& operator=(const Variant&) = delete;
  virtual ~Variant() = default;
  /// Does some calls in succession; returns the time of one.
  virtual Result<double> visit_us() = 0;
};

using BenchClock = std::chrono::steady_clock;

inline double us_since(BenchClock::time_point start) {
  return std::chrono::duration<double, std::micro>(BenchClock::now() - start).count();
}

/// Repeats a short call until a visit is long enough for the clock and for a cache that the other
/// variants have left cold. How often was found in the first visit.
class CallTimer {
 public:
  template <class Call>
  Result<double> time_us(Call&& call) {
    if (n_call_ == 0) {
      KVAULT_CHECK(call());
      const BenchClock::time_point start = BenchClock::now();
      KVAULT_CHECK(call());
      const double n_call = kVisitUs / std::max(us_since(start), 1.0);
      n_call_ = static_cast<std::uint32_t>(std::clamp(n_call, 1.0, 1000.0));
    }
    const BenchClock::time_point start = BenchClock::now();
    for (std::uint32_t i = 0; i < n_call_; ++i) KVAULT_CHECK(call());
    return us_since(start) / n_call_;
  }

 private:
  static constexpr double kVisitUs = 4000;

  std::uint32_t n_call_ = 0;
};

}  // namespace kvault::tools
