#include "gpu_vulkan/stream.hpp"

#include <algorithm>
#include <limits>

namespace kvault::vulkan {

Result<std::unique_ptr<Stream>> Stream::create(const Context& context) {
  auto stream = std::make_unique<Stream>(context);
  VkCommandPoolCreateInfo pool = {};
  pool.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
  pool.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
  pool.queueFamilyIndex = context.queue_family();
  KVAULT_CHECK(
      check(context.api().vkCreateCommandPool(context.device(), &pool, nullptr, &stream->pool_),
            "a command pool"));
  VkSemaphoreTypeCreateInfo type = {};
  type.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO;
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  VkSemaphoreCreateInfo semaphore = {};
  semaphore.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO;
  semaphore.pNext = &type;
  KVAULT_CHECK(check(
      context.api().vkCreateSemaphore(context.device(), &semaphore, nullptr, &stream->timeline_),
      "a timeline"));
  return stream;
}

Stream::~Stream() {
  const Api& api = context_.api();
  if (timeline_ != VK_NULL_HANDLE) {
    drain();
    api.vkDestroySemaphore(context_.device(), timeline_, nullptr);
  }
  give_back_retired(std::numeric_limits<std::uint64_t>::max());
  if (pool_ != VK_NULL_HANDLE) api.vkDestroyCommandPool(context_.device(), pool_, nullptr);
}

Result<> Stream::check_alive() const {
  if (loss_.has_value()) return tl::unexpected(*loss_);
  return {};
}

Result<VkCommandBuffer> Stream::find_idle_commands() {
  for (const Batch& batch : batches_) {
    if (batch.value > done_value_) continue;
    KVAULT_CHECK(check(context_.api().vkResetCommandBuffer(batch.commands, 0), "resetting"));
    return batch.commands;
  }
  VkCommandBufferAllocateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  info.commandPool = pool_;
  info.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  info.commandBufferCount = 1;
  Batch batch;
  KVAULT_CHECK(
      check(context_.api().vkAllocateCommandBuffers(context_.device(), &info, &batch.commands),
            "a command buffer"));
  batches_.push_back(batch);
  return batch.commands;
}

Result<VkCommandBuffer> Stream::commands() {
  KVAULT_CHECK(check_alive());
  ++n_recorded_;
  needs_barrier_ = true;
  if (open_ != VK_NULL_HANDLE) return open_;
  KVAULT_TRY(VkCommandBuffer buffer, find_idle_commands());
  VkCommandBufferBeginInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  info.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  KVAULT_CHECK(check(context_.api().vkBeginCommandBuffer(buffer, &info), "recording"));
  for (Batch& batch : batches_) {
    if (batch.commands == buffer) batch.value = open_value_;
  }
  open_ = buffer;
  last_used_value_ = open_value_;
  // Batches before may still run.
  KVAULT_CHECK(barrier());
  needs_barrier_ = true;
  return open_;
}

Result<> Stream::barrier() {
  KVAULT_CHECK(check_alive());
  if (!needs_barrier_ || open_ == VK_NULL_HANDLE) return {};
  VkMemoryBarrier memory = {};
  memory.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
  memory.srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT | VK_ACCESS_MEMORY_READ_BIT;
  memory.dstAccessMask = memory.srcAccessMask;
  constexpr VkPipelineStageFlags kStages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT |
                                           VK_PIPELINE_STAGE_TRANSFER_BIT |
                                           VK_PIPELINE_STAGE_HOST_BIT;
  context_.api().vkCmdPipelineBarrier(open_, kStages, kStages, 0, 1, &memory, 0, nullptr, 0,
                                      nullptr);
  needs_barrier_ = false;
  return {};
}

void Stream::when_done(std::function<void()> action) {
  actions_.push_back({open_value_, std::move(action)});
}

void Stream::retire(MemoryPool& pool, const MemoryRange& range) {
  const std::lock_guard lock(retired_mutex_);
  retired_.push_back({last_used_value_, &pool, range});
}

Result<> Stream::submit() {
  KVAULT_CHECK(check_alive());
  if (open_ == VK_NULL_HANDLE) return {};
  // The host reads what the batch wrote.
  needs_barrier_ = true;
  KVAULT_CHECK(barrier());
  Result<> sent = check(context_.api().vkEndCommandBuffer(open_), "recording");
  if (sent) sent = check(send(open_), "submitting");
  if (!sent) return lose(sent.error());
  open_ = VK_NULL_HANDLE;
  ++open_value_;
  return {};
}

/// Once more where memory is short, when the batches before have given theirs back.
VkResult Stream::send(VkCommandBuffer commands) {
  VkTimelineSemaphoreSubmitInfo timeline = {};
  timeline.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO;
  timeline.signalSemaphoreValueCount = 1;
  timeline.pSignalSemaphoreValues = &open_value_;
  VkSubmitInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO;
  info.pNext = &timeline;
  info.commandBufferCount = 1;
  info.pCommandBuffers = &commands;
  info.signalSemaphoreCount = 1;
  info.pSignalSemaphores = &timeline_;
  const auto try_once = [&] {
    const std::lock_guard lock(context_.queue_lock());
    return context_.api().vkQueueSubmit(context_.queue(), 1, &info, VK_NULL_HANDLE);
  };
  const VkResult result = try_once();
  if (result != VK_ERROR_OUT_OF_HOST_MEMORY && result != VK_ERROR_OUT_OF_DEVICE_MEMORY) {
    return result;
  }
  drain();
  return try_once();
}

VkResult Stream::await(std::uint64_t value) const {
  VkSemaphoreWaitInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
  info.semaphoreCount = 1;
  info.pSemaphores = &timeline_;
  info.pValues = &value;
  return context_.api().vkWaitSemaphores(context_.device(), &info,
                                         std::numeric_limits<std::uint64_t>::max());
}

Result<> Stream::wait(std::uint64_t value) {
  KVAULT_CHECK(check_alive());
  if (value >= open_value_) {
    KVAULT_CHECK(submit());
    value = open_value_ - 1;
  }
  if (value > done_value_) {
    const Result<> waited = check(await(value), "waiting");
    if (!waited) return lose(waited.error());
    done_value_ = value;
  }
  finish(done_value_);
  return {};
}

void Stream::drain() {
  if (open_value_ > 1) (void)await(open_value_ - 1);
}

/// What the batches would have written is not there, so that nothing built on it may go on.
Result<> Stream::lose(const Error& error) {
  loss_ = Error{.code = Errc::device_lost, .message = error.message};
  if (error.code != Errc::device_lost) {
    loss_->message = message("vulkan: recorded work was lost: ", error.message);
  }
  actions_.clear();
  open_ = VK_NULL_HANDLE;
  return check_alive();
}

void Stream::finish(std::uint64_t done) {
  const auto end = std::find_if(actions_.begin(), actions_.end(),
                                [&](const Action& action) { return action.value > done; });
  std::for_each(actions_.begin(), end, [](const Action& action) { action.run(); });
  actions_.erase(actions_.begin(), end);
  give_back_retired(done);
}

void Stream::give_back_retired(std::uint64_t done) {
  const std::lock_guard lock(retired_mutex_);
  std::erase_if(retired_, [&](const Retired& entry) {
    if (entry.value > done) return false;
    entry.pool->give_back(entry.range);
    return true;
  });
}

}  // namespace kvault::vulkan
