#include "daemon/storage_thread.hpp"

#include <chrono>

#include "core/base/assert.hpp"
#include "core/os/socket.hpp"

namespace kvault {

StorageThread::StorageThread(std::unique_ptr<Stores> stores, std::function<void()> wake)
    : stores_(std::move(stores)), wake_(std::move(wake)) {
  KVAULT_ASSERT(stores_ != nullptr && wake_);
  thread_ = std::thread([this] { work(); });
}

StorageThread::~StorageThread() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    has_work_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void StorageThread::push(std::unique_ptr<StorageTask> task) {
  ++n_pending_;
  {
    const std::lock_guard lock(mutex_);
    queued_.push_back(std::move(task));
    has_work_ = true;
  }
  changed_.notify_one();
}

void StorageThread::finish_completed() {
  std::deque<std::unique_ptr<StorageTask>> finished;
  {
    const std::lock_guard lock(mutex_);
    finished.swap(finished_);
  }
  for (const auto& task : finished) {
    KVAULT_ASSERT(n_pending_ > 0);
    --n_pending_;
    task->finish();
  }
}

void StorageThread::stay_awake() const {
  const auto end = std::chrono::steady_clock::now() + kAwakeTime;
  while (!has_work_ && std::chrono::steady_clock::now() < end) std::this_thread::yield();
}

void StorageThread::work() {
  for (;;) {
    std::unique_ptr<StorageTask> task;
    stay_awake();
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !queued_.empty(); });
      if (queued_.empty()) return;
      task = std::move(queued_.front());
      queued_.pop_front();
      has_work_ = stopping_ || !queued_.empty();
    }
    task->run(*stores_);
    // Within the lock: once finish_completed() has seen the last task, wake_ is not called again.
    const std::lock_guard lock(mutex_);
    finished_.push_back(std::move(task));
    wake_();
  }
}

}  // namespace kvault
