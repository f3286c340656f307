#pragma once

namespace kvault::vulkan {

/// What an engine whose threads share a queue has called around every submission to it. Nothing
/// else is done while it is held, so that the engine waits for no more than that.
struct QueueLock {
  void (*lock_queue)(void* user) = nullptr;  ///< null, as is the other: only one thread submits
  void (*unlock_queue)(void* user) = nullptr;
  void* user = nullptr;

  void lock() const {
    if (lock_queue != nullptr) lock_queue(user);
  }
  void unlock() const {
    if (unlock_queue != nullptr) unlock_queue(user);
  }
};

}  // namespace kvault::vulkan
