#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "daemon/stores.hpp"

namespace kvault {

/// One piece of work for the storage thread.
class StorageTask {
 public:
  StorageTask() = default;
  StorageTask(const StorageTask&) = delete;
  StorageTask& operator=(const StorageTask&) = delete;
  virtual ~StorageTask() = default;
  virtual void run(Stores& stores) = 0;  ///< on the storage thread
  virtual void finish() = 0;             ///< on the loop thread, in the order of submission
};

/// The one thread that owns the stores. Tasks run in the order of submission, so what a client
/// asked before it died is done before its leases are given back. All calls from the loop thread.
class StorageThread {
 public:
  /// `wake` is called on the storage thread whenever finished tasks wait for finish_completed().
  StorageThread(std::unique_ptr<Stores> stores, std::function<void()> wake);
  StorageThread(const StorageThread&) = delete;
  StorageThread& operator=(const StorageThread&) = delete;
  /// Runs what is queued, then joins. Tasks whose finish() has not run by then are dropped.
  ~StorageThread();

  /// Queues `run(stores)` for the storage thread; `finish(result)` follows on the loop thread.
  template <class Run, class Finish>
  void submit(Run run, Finish finish) {
    push(std::make_unique<Task<Run, Finish>>(std::move(run), std::move(finish)));
  }

  void finish_completed();
  /// Tasks submitted whose finish() has not run.
  std::size_t n_pending() const noexcept { return n_pending_; }

 private:
  template <class Run, class Finish>
  class Task final : public StorageTask {
   public:
    Task(Run run, Finish finish) : run_(std::move(run)), finish_(std::move(finish)) {}
    void run(Stores& stores) override { result_.emplace(run_(stores)); }
    void finish() override { finish_(std::move(*result_)); }

   private:
    Run run_;
    Finish finish_;
    std::optional<std::invoke_result_t<Run&, Stores&>> result_;
  };

  void push(std::unique_ptr<StorageTask> task);
  void work();
  /// Looks for the next task for a moment before the thread sleeps.
  void stay_awake() const;

  const std::unique_ptr<Stores> stores_;
  const std::function<void()> wake_;
  std::size_t n_pending_ = 0;  // loop thread only

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<StorageTask>> queued_;
  std::atomic<bool> has_work_ = false;  ///< queued, or stopping; looked at without the lock
  std::deque<std::unique_ptr<StorageTask>> finished_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace kvault
