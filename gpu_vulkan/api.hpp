#pragma once

#include <string_view>

#include "core/base/result.hpp"
#include "core/os/shared_library.hpp"

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

// The functions of Vulkan this backend calls, found at run time: nothing is linked, so that a
// program starts on a machine without a loader.

#define KVAULT_VULKAN_GLOBAL_FUNCTIONS(X)   \
  X(vkCreateInstance)                       \
  X(vkEnumerateInstanceExtensionProperties) \
  X(vkEnumerateInstanceLayerProperties)     \
  X(vkEnumerateInstanceVersion)

#define KVAULT_VULKAN_INSTANCE_FUNCTIONS(X) \
  X(vkCreateDevice)                         \
  X(vkDestroyInstance)                      \
  X(vkEnumerateDeviceExtensionProperties)   \
  X(vkEnumeratePhysicalDevices)             \
  X(vkGetDeviceProcAddr)                    \
  X(vkGetPhysicalDeviceFeatures2)           \
  X(vkGetPhysicalDeviceMemoryProperties2)   \
  X(vkGetPhysicalDeviceProperties2)         \
  X(vkGetPhysicalDeviceQueueFamilyProperties)

// Null where the extension they belong to is not enabled.
#define KVAULT_VULKAN_OPTIONAL_INSTANCE_FUNCTIONS(X) \
  X(vkCreateDebugUtilsMessengerEXT)                  \
  X(vkDestroyDebugUtilsMessengerEXT)

#define KVAULT_VULKAN_DEVICE_FUNCTIONS(X) \
  X(vkAllocateCommandBuffers)             \
  X(vkAllocateMemory)                     \
  X(vkBeginCommandBuffer)                 \
  X(vkBindBufferMemory)                   \
  X(vkCmdBindPipeline)                    \
  X(vkCmdCopyBuffer)                      \
  X(vkCmdDispatch)                        \
  X(vkCmdFillBuffer)                      \
  X(vkCmdPipelineBarrier)                 \
  X(vkCmdPushConstants)                   \
  X(vkCreateBuffer)                       \
  X(vkCreateCommandPool)                  \
  X(vkCreateComputePipelines)             \
  X(vkCreatePipelineCache)                \
  X(vkCreatePipelineLayout)               \
  X(vkCreateSemaphore)                    \
  X(vkCreateShaderModule)                 \
  X(vkDestroyBuffer)                      \
  X(vkDestroyCommandPool)                 \
  X(vkDestroyDevice)                      \
  X(vkDestroyPipeline)                    \
  X(vkDestroyPipelineCache)               \
  X(vkDestroyPipelineLayout)              \
  X(vkDestroySemaphore)                   \
  X(vkDestroyShaderModule)                \
  X(vkEndCommandBuffer)                   \
  X(vkFreeMemory)                         \
  X(vkGetBufferDeviceAddress)             \
  X(vkGetBufferMemoryRequirements)        \
  X(vkGetDeviceQueue)                     \
  X(vkGetPipelineCacheData)               \
  X(vkMapMemory)                          \
  X(vkQueueSubmit)                        \
  X(vkResetCommandBuffer)                 \
  X(vkWaitSemaphores)

#define KVAULT_VULKAN_OPTIONAL_DEVICE_FUNCTIONS(X) X(vkGetMemoryHostPointerPropertiesEXT)

namespace kvault::vulkan {

/// Function pointers by level: load(), then load_instance(), then load_device().
struct Api {
  /// Errc::device_absent where there is no loader.
  static Result<Api> load();
  /// For a loader that the caller has already.
  static Result<Api> load(PFN_vkGetInstanceProcAddr get_instance_proc);
  Result<> load_instance(VkInstance instance);
  Result<> load_device(VkDevice device);

  SharedLibrary loader;  ///< empty where the caller brought the loader
  PFN_vkGetInstanceProcAddr vkGetInstanceProcAddr = nullptr;
#define KVAULT_VULKAN_MEMBER(name) PFN_##name name = nullptr;
  KVAULT_VULKAN_GLOBAL_FUNCTIONS(KVAULT_VULKAN_MEMBER)
  KVAULT_VULKAN_INSTANCE_FUNCTIONS(KVAULT_VULKAN_MEMBER)
  KVAULT_VULKAN_OPTIONAL_INSTANCE_FUNCTIONS(KVAULT_VULKAN_MEMBER)
  KVAULT_VULKAN_DEVICE_FUNCTIONS(KVAULT_VULKAN_MEMBER)
  KVAULT_VULKAN_OPTIONAL_DEVICE_FUNCTIONS(KVAULT_VULKAN_MEMBER)
#undef KVAULT_VULKAN_MEMBER
};

/// VK_SUCCESS, or an error that says what was being done: out_of_memory, device_lost, unsupported,
/// else internal.
Result<> check(VkResult result, std::string_view what);

}  // namespace kvault::vulkan
