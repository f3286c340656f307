#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "gpu_vulkan/context.hpp"
#include "gpu_vulkan/memory.hpp"

namespace kvault::vulkan {

/// Work in call order on one queue. Commands gather in a batch; a submitted batch sets the timeline
/// to its value when it is done. Submission is all the caller's thread does.
///
/// A batch that cannot be submitted or waited for loses the device: results that tickets promised
/// will never be, so that every later call fails with Errc::device_lost and no action runs.
class Stream {
 public:
  static Result<std::unique_ptr<Stream>> create(const Context& context);
  explicit Stream(const Context& context) : context_(context) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  /// Drains.
  ~Stream();

  /// Errc::device_lost once the device is lost.
  Result<> check_alive() const;

  /// The value of the batch that is being recorded.
  std::uint64_t open_value() const { return open_value_; }
  /// Where to record; begins the batch if need be.
  Result<VkCommandBuffer> commands();
  /// How often it was recorded to.
  std::uint64_t n_recorded() const { return n_recorded_; }
  /// What follows sees what came before.
  Result<> barrier();
  /// Runs `action` in the wait() that finds the open batch done.
  void when_done(std::function<void()> action);
  /// Gives the range back to its pool once all that was recorded is done. Any thread.
  void retire(MemoryPool& pool, const MemoryRange& range);

  /// Hands the open batch to the device, if it holds anything.
  Result<> submit();
  /// Returns when the batch of that value is done, submitting it first if it is still open.
  Result<> wait(std::uint64_t value);
  /// Returns when the device is done with all that was submitted, lost or not. No action runs.
  void drain();
  /// Whether a wait() has found that batch done: only then have its actions run.
  bool is_done(std::uint64_t value) const { return value <= done_value_; }

 private:
  struct Batch {
    VkCommandBuffer commands = VK_NULL_HANDLE;
    std::uint64_t value = 0;
  };
  struct Action {
    std::uint64_t value;
    std::function<void()> run;
  };
  struct Retired {
    std::uint64_t value;
    MemoryPool* pool;
    MemoryRange range;
  };

  Result<VkCommandBuffer> find_idle_commands();
  VkResult send(VkCommandBuffer commands);
  VkResult await(std::uint64_t value) const;
  Result<> lose(const Error& error);
  void finish(std::uint64_t done);
  void give_back_retired(std::uint64_t done);

  const Context& context_;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  VkSemaphore timeline_ = VK_NULL_HANDLE;
  std::vector<Batch> batches_;  ///< all command buffers, with the value they were last used for
  VkCommandBuffer open_ = VK_NULL_HANDLE;
  bool needs_barrier_ = false;
  std::uint64_t n_recorded_ = 0;
  std::uint64_t open_value_ = 1;
  std::atomic<std::uint64_t> last_used_value_ = 0;  ///< of the last batch that holds commands
  std::uint64_t done_value_ = 0;
  std::optional<Error> loss_;
  std::vector<Action> actions_;
  std::mutex retired_mutex_;
  std::vector<Retired> retired_;
};

}  // namespace kvault::vulkan
