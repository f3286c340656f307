#pragma once

#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "kvault/kvault_vulkan.h"
#include "tests/unit/gpu_vulkan/open_context.hpp"

namespace kvault::test {

/// An engine that owns a device, made with what kvault must have and no more. Its queue is watched:
/// functions of Vulkan carry no context, so that there is one engine at a time.
class Engine {
 public:
  /// Null, with a message, where this machine has no Vulkan.
  static std::unique_ptr<Engine> open() {
    std::shared_ptr<const vulkan::Context> context = open_context();
    return context == nullptr ? nullptr : std::make_unique<Engine>(std::move(context));
  }

  explicit Engine(std::shared_ptr<const vulkan::Context> context) : context_(std::move(context)) {
    Result<vulkan::Api> api = vulkan::Api::load();
    REQUIRE(api);
    api_ = std::move(*api);
    REQUIRE(api_.load_instance(context_->instance()));
    create_device();
    REQUIRE(api_.load_device(device_));
    now() = this;
  }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine() {
    now() = nullptr;
    api_.vkDestroyDevice(device_, nullptr);
  }

  /// With the lock.
  kvault_vulkan_device lend() {
    kvault_vulkan_device lent = KVAULT_VULKAN_DEVICE_INIT;
    lent.get_instance_proc_addr = reinterpret_cast<kvault_vulkan_function>(&find_function);
    lent.instance = context_->instance();
    lent.physical_device = context_->adapter().handle;
    lent.device = device_;
    api_.vkGetDeviceQueue(device_, context_->queue_family(), 0, &queue_);
    lent.queue = queue_;
    lent.queue_family = context_->queue_family();
    lent.lock_queue = [](void* engine) {
      static_cast<Engine*>(engine)->mutex_.lock();
      static_cast<Engine*>(engine)->is_locked_ = true;
      ++static_cast<Engine*>(engine)->n_lock_;
    };
    lent.unlock_queue = [](void* engine) {
      ++static_cast<Engine*>(engine)->n_unlock_;
      static_cast<Engine*>(engine)->is_locked_ = false;
      static_cast<Engine*>(engine)->mutex_.unlock();
    };
    lent.queue_user = this;
    return lent;
  }

  const vulkan::Context& context() const { return *context_; }
  const vulkan::Api& api() const { return api_; }
  VkDevice device() const { return device_; }
  std::uint32_t n_lock() const { return n_lock_; }
  std::uint32_t n_unlock() const { return n_unlock_; }
  std::uint32_t n_submit() const { return n_submit_; }
  /// Submissions that were made without the lock.
  std::uint32_t n_bare_submit() const { return n_bare_submit_; }

 private:
  static Engine*& now() {
    static Engine* engine = nullptr;
    return engine;
  }

  static VkResult VKAPI_CALL submit(VkQueue queue, std::uint32_t n, const VkSubmitInfo* infos,
                                    VkFence fence) {
    Engine& engine = *now();
    ++engine.n_submit_;
    if (!engine.is_locked_) ++engine.n_bare_submit_;
    return engine.api_.vkQueueSubmit(queue, n, infos, fence);
  }
  static PFN_vkVoidFunction VKAPI_CALL find_device_function(VkDevice device, const char* name) {
    if (name == std::string_view("vkQueueSubmit")) {
      return reinterpret_cast<PFN_vkVoidFunction>(&submit);
    }
    return now()->api_.vkGetDeviceProcAddr(device, name);
  }
  static PFN_vkVoidFunction VKAPI_CALL find_function(VkInstance instance, const char* name) {
    if (name == std::string_view("vkGetDeviceProcAddr")) {
      return reinterpret_cast<PFN_vkVoidFunction>(&find_device_function);
    }
    return now()->api_.vkGetInstanceProcAddr(instance, name);
  }

  void create_device() {
    const float priority = 1;
    VkDeviceQueueCreateInfo queue = {};
    queue.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
    queue.queueFamilyIndex = context_->queue_family();
    queue.queueCount = 1;
    queue.pQueuePriorities = &priority;
    VkPhysicalDeviceVulkan12Features features = {};
    features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
    features.bufferDeviceAddress = VK_TRUE;
    features.timelineSemaphore = VK_TRUE;
    VkDeviceCreateInfo info = {};
    info.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
    info.pNext = &features;
    info.queueCreateInfoCount = 1;
    info.pQueueCreateInfos = &queue;
    REQUIRE(api_.vkCreateDevice(context_->adapter().handle, &info, nullptr, &device_) ==
            VK_SUCCESS);
  }

  std::shared_ptr<const vulkan::Context> context_;
  vulkan::Api api_;
  VkDevice device_ = VK_NULL_HANDLE;
  VkQueue queue_ = VK_NULL_HANDLE;
  std::mutex mutex_;
  std::atomic<bool> is_locked_ = false;
  std::atomic<std::uint32_t> n_lock_ = 0;
  std::atomic<std::uint32_t> n_unlock_ = 0;
  std::atomic<std::uint32_t> n_submit_ = 0;
  std::atomic<std::uint32_t> n_bare_submit_ = 0;
};

/// A buffer of an engine's with no other usage than is given, which the host can see into.
class EngineBuffer {
 public:
  EngineBuffer(const Engine& engine, VkBufferUsageFlags usage, std::size_t n_float)
      : engine_(engine), size_bytes_(n_float * sizeof(float)) {
    const vulkan::Api& api = engine.api();
    VkBufferCreateInfo info = {};
    info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
    info.size = size_bytes_;
    info.usage = usage;
    REQUIRE(api.vkCreateBuffer(engine.device(), &info, nullptr, &buffer_) == VK_SUCCESS);
    VkMemoryRequirements needs = {};
    api.vkGetBufferMemoryRequirements(engine.device(), buffer_, &needs);
    VkMemoryAllocateInfo allocation = {};
    allocation.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
    allocation.allocationSize = needs.size;
    allocation.memoryTypeIndex =
        engine.context().memory_types(vulkan::MemoryKind::upload, needs.memoryTypeBits).at(0);
    REQUIRE(api.vkAllocateMemory(engine.device(), &allocation, nullptr, &memory_) == VK_SUCCESS);
    REQUIRE(api.vkBindBufferMemory(engine.device(), buffer_, memory_, 0) == VK_SUCCESS);
    void* host = nullptr;
    REQUIRE(api.vkMapMemory(engine.device(), memory_, 0, VK_WHOLE_SIZE, 0, &host) == VK_SUCCESS);
    host_ = static_cast<float*>(host);
    std::memset(host_, 0, size_bytes_);
  }
  EngineBuffer(const EngineBuffer&) = delete;
  EngineBuffer& operator=(const EngineBuffer&) = delete;
  ~EngineBuffer() {
    engine_.api().vkDestroyBuffer(engine_.device(), buffer_, nullptr);
    engine_.api().vkFreeMemory(engine_.device(), memory_, nullptr);
  }

  std::span<float> values() { return {host_, size_bytes_ / sizeof(float)}; }
  kvault_vulkan_buffer at(std::size_t first_float) const {
    return {reinterpret_cast<std::uint64_t>(buffer_), size_bytes_, first_float * sizeof(float)};
  }

 private:
  const Engine& engine_;
  std::size_t size_bytes_;
  VkBuffer buffer_ = VK_NULL_HANDLE;
  VkDeviceMemory memory_ = VK_NULL_HANDLE;
  float* host_ = nullptr;
};

}  // namespace kvault::test
