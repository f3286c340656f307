#pragma once

#include <cstdio>
#include <cstdlib>

/// A broken precondition inside kvault is a defect: print where and stop, in every build.
/// Outside input never reaches an assertion; it is answered with an Error before.
#define KVAULT_ASSERT(condition)                                                             \
  do {                                                                                       \
    if (!(condition)) [[unlikely]] {                                                         \
      std::fprintf(stderr, "kvault: defect at %s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                          \
    }                                                                                        \
  } while (false)
