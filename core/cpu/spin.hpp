#pragma once

#include <chrono>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace kvault::cpu {

/// How long a thread of the pool looks for work before it sleeps. Waking a sleeper takes about as
/// long, and the layers of a model follow each other faster than that.
inline constexpr std::chrono::microseconds kSpinTime{50};

inline void pause_processor() {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/// Calls is_over() until it is true or kSpinTime has passed; what it said last.
template <class IsOver>
bool spin_until(const IsOver& is_over) {
  const auto end = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < 32; ++i) {
      if (is_over()) return true;
      pause_processor();
    }
  } while (std::chrono::steady_clock::now() < end);
  return is_over();
}

}  // namespace kvault::cpu
