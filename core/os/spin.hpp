#pragma once

#include <chrono>

namespace kvault {

/// How long a thread of the pool looks for work before it sleeps: no longer than what a call with
/// sleepers was seen to lose (docs/benchmarks/cpu.md), so that looking in vain costs little.
inline constexpr std::chrono::microseconds kSpinTime{50};

inline void pause_processor() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/// Calls is_over() until it is true or kSpinTime has passed.
template <class IsOver>
void spin_until(const IsOver& is_over) {
  const auto end = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < 32; ++i) {
      if (is_over()) return;
      pause_processor();
    }
  } while (std::chrono::steady_clock::now() < end);
}

}  // namespace kvault
