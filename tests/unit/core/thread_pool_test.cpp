#include "core/os/thread_pool.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
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

TEST_CASE("thread pool: no items, no calls, and none is left for the next run") {
  ThreadPool pool(3);
  std::atomic<int> n_call = 0;
  for (int round = 0; round < 100; ++round) {
    pool.run(0, [&](std::uint32_t, std::uint32_t) { ++n_call; });
  }
  CHECK(n_call == 0);
  pool.run(1, [&](std::uint32_t, std::uint32_t) { ++n_call; });
  CHECK(n_call == 1);
}

TEST_CASE("thread pool: a thousand tiny runs, each seen whole when it returns") {
  for (const std::uint32_t n_thread : {1U, 2U, 16U}) {
    ThreadPool pool(n_thread);
    std::uint64_t sum = 0;
    for (std::uint32_t round = 0; round < 1000; ++round) {
      // Not atomic: what items wrote must be there when run() returns.
      std::uint32_t results[5] = {};
      const std::uint32_t n_item = round % 6;
      pool.run(n_item, [&](std::uint32_t item, std::uint32_t) { results[item] = round; });
      for (const std::uint32_t result : results) sum += result;
    }
    std::uint64_t expected = 0;
    for (std::uint64_t round = 0; round < 1000; ++round) expected += round * (round % 6);
    CHECK(sum == expected);
  }
}

TEST_CASE("thread pool: a thread never runs two items at a time") {
  constexpr std::uint32_t kThreads = 7;
  ThreadPool pool(kThreads);
  std::vector<int> scratch(kThreads);  // not atomic: a thread's own
  std::atomic<bool> is_alone = true;
  pool.run(2000, [&](std::uint32_t item, std::uint32_t thread) {
    const int before = scratch[thread]++;
    if (item % 64 == 0) std::this_thread::yield();
    if (scratch[thread] != before + 1) is_alone = false;
  });
  CHECK(is_alone);
  int n_run = 0;
  for (const int n : scratch) n_run += n;
  CHECK(n_run == 2000);
}

TEST_CASE("thread pool: pools used by several threads at once, and one within another's item") {
  std::atomic<int> n_run = 0;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      ThreadPool pool(4);
      for (int round = 0; round < 50; ++round) {
        pool.run(8, [&](std::uint32_t, std::uint32_t) { ++n_run; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(n_run == 4 * 50 * 8);
  n_run = 0;
  ThreadPool outer(3);
  outer.run(6, [&](std::uint32_t, std::uint32_t) {
    ThreadPool inner(2);
    inner.run(5, [&](std::uint32_t, std::uint32_t) { ++n_run; });
  });
  CHECK(n_run == 30);
}

TEST_CASE("thread pool: ends at once, used or not") {
  for (std::uint32_t round = 0; round < 100; ++round) {
    ThreadPool pool(1 + round % 9);
    if (round % 2 == 0) continue;
    std::atomic<std::uint32_t> n_run = 0;
    pool.run(round, [&](std::uint32_t, std::uint32_t) { ++n_run; });
    CHECK(n_run == round);
  }
}

}  // namespace
}  // namespace kvault::cpu
