#include "core/cpu/thread_pool.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <vector>

namespace kvault::cpu {
namespace {

TEST_CASE("thread pool: every item runs exactly once, for any number of threads and items") {
  for (const std::uint32_t n_thread : {1U, 2U, 5U}) {
    ThreadPool pool(n_thread);
    CHECK(pool.n_thread() == n_thread);
    for (const std::uint32_t n_item : {0U, 1U, 2U, 7U, 1000U}) {
      std::vector<std::atomic<int>> runs(n_item);
      std::atomic<bool> is_thread_valid = true;
      pool.run(n_item, [&](std::uint32_t item, std::uint32_t thread) {
        ++runs[item];
        if (thread >= n_thread) is_thread_valid = false;
      });
      for (const auto& count : runs) CHECK(count == 1);
      CHECK(is_thread_valid);
    }
  }
}

}  // namespace
}  // namespace kvault::cpu
