#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>

#include "tests/unit/gpu_vulkan/open_context.hpp"

namespace kvault::test {

/// Some calls of a function that fail.
struct Fault {
  VkResult result = VK_SUCCESS;
  std::uint32_t n_fail = 0;
  std::uint32_t n_call = 0;  ///< so far, failed ones too

  bool strikes() {
    ++n_call;
    if (n_fail == 0) return false;
    --n_fail;
    return true;
  }
};

/// What the driver does instead of what it would do. Functions of Vulkan carry no context, so that
/// there is one of it; a FaultyDriver starts it afresh.
struct Faults {
  const vulkan::Api* real = nullptr;
  Fault submit;  ///< nothing is submitted
  Fault wait;    ///< after the real wait, so that nothing is under way
  Fault end;     ///< of recording
  std::uint32_t n_barrier = 0;
  std::string_view absent;  ///< a function of the device that it lacks
  std::uint64_t memory_left_bytes = std::numeric_limits<std::uint64_t>::max();
  VkPhysicalDeviceMemoryProperties memory = {};  ///< if it has types: these
  std::optional<std::uint64_t> budget_bytes;  ///< it has VK_EXT_memory_budget: left of every heap
  VkPhysicalDeviceType type = VK_PHYSICAL_DEVICE_TYPE_MAX_ENUM;  ///< if another value: this

  static Faults& now() {
    static Faults faults;
    return faults;
  }
};

inline VkResult VKAPI_CALL submit_or_fail(VkQueue queue, std::uint32_t n, const VkSubmitInfo* infos,
                                          VkFence fence) {
  Faults& faults = Faults::now();
  return faults.submit.strikes() ? faults.submit.result
                                 : faults.real->vkQueueSubmit(queue, n, infos, fence);
}

inline VkResult VKAPI_CALL wait_or_fail(VkDevice device, const VkSemaphoreWaitInfo* info,
                                        std::uint64_t timeout) {
  Faults& faults = Faults::now();
  const VkResult result = faults.real->vkWaitSemaphores(device, info, timeout);
  return faults.wait.strikes() ? faults.wait.result : result;
}

inline VkResult VKAPI_CALL end_or_fail(VkCommandBuffer commands) {
  Faults& faults = Faults::now();
  const VkResult result = faults.real->vkEndCommandBuffer(commands);
  return faults.end.strikes() ? faults.end.result : result;
}

inline void VKAPI_CALL count_barrier(VkCommandBuffer commands, VkPipelineStageFlags before,
                                     VkPipelineStageFlags after, VkDependencyFlags flags,
                                     std::uint32_t n_memory, const VkMemoryBarrier* memory,
                                     std::uint32_t n_buffer, const VkBufferMemoryBarrier* buffers,
                                     std::uint32_t n_image, const VkImageMemoryBarrier* images) {
  Faults& faults = Faults::now();
  ++faults.n_barrier;
  faults.real->vkCmdPipelineBarrier(commands, before, after, flags, n_memory, memory, n_buffer,
                                    buffers, n_image, images);
}

inline VkResult VKAPI_CALL allocate_or_fail(VkDevice device, const VkMemoryAllocateInfo* info,
                                            const VkAllocationCallbacks* callbacks,
                                            VkDeviceMemory* memory) {
  Faults& faults = Faults::now();
  if (info->allocationSize > faults.memory_left_bytes) return VK_ERROR_OUT_OF_DEVICE_MEMORY;
  faults.memory_left_bytes -= info->allocationSize;
  return faults.real->vkAllocateMemory(device, info, callbacks, memory);
}

inline void VKAPI_CALL tell_memory(VkPhysicalDevice device,
                                   VkPhysicalDeviceMemoryProperties2* properties) {
  Faults& faults = Faults::now();
  auto* budget = static_cast<VkPhysicalDeviceMemoryBudgetPropertiesEXT*>(properties->pNext);
  // The real driver may not know the structure.
  if (faults.budget_bytes) properties->pNext = nullptr;
  faults.real->vkGetPhysicalDeviceMemoryProperties2(device, properties);
  if (faults.memory.memoryTypeCount > 0) properties->memoryProperties = faults.memory;
  if (!faults.budget_bytes || budget == nullptr) return;
  properties->pNext = budget;
  for (std::uint32_t i = 0; i < properties->memoryProperties.memoryHeapCount; ++i) {
    budget->heapUsage[i] = std::uint64_t{1} << 30U;
    budget->heapBudget[i] = budget->heapUsage[i] + *faults.budget_bytes;
  }
}

inline VkResult VKAPI_CALL tell_extensions(VkPhysicalDevice device, const char* layer,
                                           std::uint32_t* n, VkExtensionProperties* list) {
  Faults& faults = Faults::now();
  const std::uint32_t n_room = list == nullptr ? 0 : *n;
  const VkResult told = faults.real->vkEnumerateDeviceExtensionProperties(device, layer, n, list);
  if (!faults.budget_bytes || told != VK_SUCCESS) return told;
  if (list != nullptr && *n == n_room) return VK_INCOMPLETE;
  if (list != nullptr) list[*n] = {VK_EXT_MEMORY_BUDGET_EXTENSION_NAME, 1};
  ++*n;
  return VK_SUCCESS;
}

inline void VKAPI_CALL tell_properties(VkPhysicalDevice device,
                                       VkPhysicalDeviceProperties2* properties) {
  Faults& faults = Faults::now();
  faults.real->vkGetPhysicalDeviceProperties2(device, properties);
  if (faults.type != VK_PHYSICAL_DEVICE_TYPE_MAX_ENUM) {
    properties->properties.deviceType = faults.type;
  }
}

inline PFN_vkVoidFunction VKAPI_CALL find_device_function(VkDevice device, const char* name) {
  const auto as_void = [](auto function) { return reinterpret_cast<PFN_vkVoidFunction>(function); };
  const std::string_view wanted = name;
  if (wanted == Faults::now().absent) return nullptr;
  if (wanted == "vkQueueSubmit") return as_void(&submit_or_fail);
  if (wanted == "vkWaitSemaphores") return as_void(&wait_or_fail);
  if (wanted == "vkEndCommandBuffer") return as_void(&end_or_fail);
  if (wanted == "vkCmdPipelineBarrier") return as_void(&count_barrier);
  if (wanted == "vkAllocateMemory") return as_void(&allocate_or_fail);
  return Faults::now().real->vkGetDeviceProcAddr(device, name);
}

inline PFN_vkVoidFunction VKAPI_CALL find_instance_function(VkInstance instance, const char* name) {
  const auto as_void = [](auto function) { return reinterpret_cast<PFN_vkVoidFunction>(function); };
  const std::string_view wanted = name;
  if (wanted == "vkGetDeviceProcAddr") return as_void(&find_device_function);
  if (wanted == "vkGetPhysicalDeviceMemoryProperties2") return as_void(&tell_memory);
  if (wanted == "vkEnumerateDeviceExtensionProperties") return as_void(&tell_extensions);
  if (wanted == "vkGetPhysicalDeviceProperties2") return as_void(&tell_properties);
  return Faults::now().real->vkGetInstanceProcAddr(instance, name);
}

/// The handles of a context, as an engine would lend them.
inline vulkan::BorrowedDevice lend(const vulkan::Context& context) {
  return {.get_instance_proc = nullptr,
          .instance = context.instance(),
          .physical_device = context.adapter().handle,
          .device = context.device(),
          .queue = context.queue(),
          .queue_family = context.queue_family()};
}

/// A context over a real one whose driver fails when it is told to.
class FaultyDriver {
 public:
  /// The contexts are null where this machine has no Vulkan.
  FaultyDriver() : real_(open_context()) {
    if (real_ == nullptr) return;
    faults() = {};
    faults().real = &real_->api();
    borrow();
  }
  FaultyDriver(const FaultyDriver&) = delete;
  FaultyDriver& operator=(const FaultyDriver&) = delete;

  /// Reads anew what the driver tells.
  void borrow() {
    vulkan::BorrowedDevice lent = lend(*real_);
    lent.get_instance_proc = &find_instance_function;
    Result<std::shared_ptr<const vulkan::Context>> context = vulkan::Context::borrow(lent);
    REQUIRE(context);
    context_ = std::move(*context);
  }

  bool is_there() const { return context_ != nullptr; }
  const std::shared_ptr<const vulkan::Context>& context() const { return context_; }
  Faults& faults() { return Faults::now(); }

 private:
  std::shared_ptr<const vulkan::Context> real_;
  std::shared_ptr<const vulkan::Context> context_;
};

}  // namespace kvault::test
