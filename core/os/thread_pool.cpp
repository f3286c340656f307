#include "core/os/thread_pool.hpp"

#include <algorithm>
#include <system_error>

#include "core/base/assert.hpp"
#include "core/os/spin.hpp"

namespace kvault {

ThreadPool::ThreadPool(std::uint32_t n_thread) {
  const std::uint32_t n =
      n_thread != 0 ? n_thread : std::max(1U, std::thread::hardware_concurrency());
  workers_.reserve(n - 1);
  try {
    for (std::uint32_t thread = 1; thread < n; ++thread) {
      workers_.emplace_back([this, thread] { work(thread); });
    }
  } catch (const std::system_error&) {
    // The system gives no more threads: those that there are do the work.
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    ++n_call_;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(std::uint32_t n_item,
                     const std::function<void(std::uint32_t, std::uint32_t)>& task) {
  std::unique_lock lock(mutex_);
  KVAULT_ASSERT(task_ == nullptr);
  task_ = &task;
  next_item_ = 0;
  n_item_ = n_item;
  if (n_item > 1) {
    ++n_call_;
    wake_.notify_all();
  }
  take_items(0, lock);
  if (n_running_ != 0) {
    lock.unlock();
    spin_until([this] { return n_running_ == 0; });
    lock.lock();
  }
  done_.wait(lock, [this] { return n_running_ == 0; });
  task_ = nullptr;
}

void ThreadPool::work(std::uint32_t thread) {
  std::unique_lock lock(mutex_);
  while (true) {
    const std::uint64_t n_seen = n_call_;
    lock.unlock();
    spin_until([&] { return n_call_ != n_seen; });
    lock.lock();
    wake_.wait(lock, [this] { return stopping_ || (task_ != nullptr && next_item_ < n_item_); });
    if (stopping_) return;
    take_items(thread, lock);
  }
}

/// Takes items until none is left. pre: `lock` is held; it is released while an item runs.
void ThreadPool::take_items(std::uint32_t thread, std::unique_lock<std::mutex>& lock) {
  while (task_ != nullptr && next_item_ < n_item_) {
    const std::uint32_t item = next_item_++;
    const auto& task = *task_;
    ++n_running_;
    lock.unlock();
    task(item, thread);
    lock.lock();
    --n_running_;
  }
  if (n_running_ == 0) done_.notify_all();
}

}  // namespace kvault
