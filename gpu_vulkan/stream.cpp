#include "gpu_vulkan/stream.hpp"

#include <algorithm>
#include <limits>
#include <utility>

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
    if (open_value_ > 1) (void)wait(open_value_ - 1);
    api.vkDestroySemaphore(context_.device(), timeline_, nullptr);
  }
  give_back_retired(std::numeric_limits<std::uint64_t>::max());
  if (pool_ != VK_NULL_HANDLE) api.vkDestroyCommandPool(context_.device(), pool_, nullptr);
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
  if (open_ == VK_NULL_HANDLE) return {};
  // The host reads what the batch wrote.
  needs_barrier_ = true;
  KVAULT_CHECK(barrier());
  const VkCommandBuffer buffer = std::exchange(open_, VK_NULL_HANDLE);
  KVAULT_CHECK(check(context_.api().vkEndCommandBuffer(buffer), "recording"));
  VkTimelineSemaphoreSubmitInfo timeline = {};
  timeline.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO;
  timeline.signalSemaphoreValueCount = 1;
  timeline.pSignalSemaphoreValues = &open_value_;
  VkSubmitInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO;
  info.pNext = &timeline;
  info.commandBufferCount = 1;
  info.pCommandBuffers = &buffer;
  info.signalSemaphoreCount = 1;
  info.pSignalSemaphores = &timeline_;
  KVAULT_CHECK(check(context_.api().vkQueueSubmit(context_.queue(), 1, &info, VK_NULL_HANDLE),
                     "submitting"));
  ++open_value_;
  return {};
}

Result<> Stream::wait(std::uint64_t value) {
  if (value >= open_value_) {
    KVAULT_CHECK(submit());
    value = open_value_ - 1;
  }
  if (value > done_value_) {
    VkSemaphoreWaitInfo info = {};
    info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
    info.semaphoreCount = 1;
    info.pSemaphores = &timeline_;
    info.pValues = &value;
    KVAULT_CHECK(check(context_.api().vkWaitSemaphores(context_.device(), &info,
                                                       std::numeric_limits<std::uint64_t>::max()),
                       "waiting"));
    done_value_ = value;
  }
  finish(done_value_);
  return {};
}

void Stream::finish(std::uint64_t done) {
  std::vector<Action> due;
  const auto is_due = [&](const Action& action) { return action.value <= done; };
  std::copy_if(actions_.begin(), actions_.end(), std::back_inserter(due), is_due);
  std::erase_if(actions_, is_due);
  for (const Action& action : due) action.run();
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
