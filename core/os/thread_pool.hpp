#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace kvault {

/// Threads that share out the items of one call at a time. Owned by a device or a part
/// of one; which thread takes an item never changes what the item computes.
class ThreadPool {
 public:
  /// `n_thread` counts the caller; 0 = one per core. There are fewer where the system gives no
  /// more.
  explicit ThreadPool(std::uint32_t n_thread);
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool();

  std::uint32_t n_thread() const { return static_cast<std::uint32_t>(workers_.size()) + 1; }

  /// Calls task(item, thread) for every item in [0, n_item), thread in [0, n_thread()); returns
  /// when all are done. Not reentrant.
  void run(std::uint32_t n_item, const std::function<void(std::uint32_t, std::uint32_t)>& task);

 private:
  void work(std::uint32_t thread);
  void take_items(std::uint32_t thread, std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  const std::function<void(std::uint32_t, std::uint32_t)>* task_ = nullptr;
  std::uint32_t next_item_ = 0;
  std::uint32_t n_item_ = 0;
  /// These two change under the mutex only; without it they are only looked at, to end a spin.
  std::atomic<std::uint32_t> n_running_ = 0;
  std::atomic<std::uint64_t> n_call_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace kvault
