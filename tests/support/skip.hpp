#pragma once

#include <cstdio>
#include <string_view>

namespace kvault::test {

/// How many test cases of this run said that they cannot run here.
int& skip_count() noexcept;

/// Leaves a test case that cannot run here, and says why; ctest shows it as skipped, not as passed.
/// Call it before the first check. One case of many devices skips only where none could run.
inline void note_skip(std::string_view reason) noexcept {
  std::printf("[skip] %.*s\n", static_cast<int>(reason.size()), reason.data());
  ++skip_count();
}

}  // namespace kvault::test

/// KVAULT_TEST_SKIP("no Vulkan driver"): prints the reason and returns from the test case.
#define KVAULT_TEST_SKIP(reason)       \
  do {                                 \
    ::kvault::test::note_skip(reason); \
    return;                            \
  } while (false)
