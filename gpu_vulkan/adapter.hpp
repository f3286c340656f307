#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gpu_vulkan/api.hpp"

namespace kvault::vulkan {

/// A physical device, what it can do, and why it is of no use if it lacks something.
struct Adapter {
  VkPhysicalDevice handle = VK_NULL_HANDLE;  ///< as long as its instance lives
  std::string name;                          ///< as the driver calls it
  std::string driver;                        ///< name and version
  std::string uuid;                          ///< 32 hexadecimal digits
  std::string why_not;                       ///< empty: usable
  VkPhysicalDeviceType type = VK_PHYSICAL_DEVICE_TYPE_OTHER;
  std::uint32_t queue_family = 0;
  std::uint32_t shared_size_bytes = 0;  ///< shared memory of a workgroup
  std::uint64_t buffer_size_max_bytes = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t import_alignment_bytes = 0;  ///< 0: host memory cannot be imported
  bool has_memory_budget = false;
  bool has_dot_product = false;      ///< of four bytes, in the shader
  bool is_dot_product_fast = false;  ///< in hardware
  std::vector<std::uint8_t> cache_uuid;
  std::vector<const char*> extensions;  ///< of those it has, what to enable

  bool is_integrated() const {
    return type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU || type == VK_PHYSICAL_DEVICE_TYPE_CPU;
  }
};

/// Every physical device, best first: discrete, integrated, virtual, cpu; the driver's order among
/// equals. Unusable ones are listed too.
Result<std::vector<Adapter>> list_adapters(const Api& api, VkInstance instance);

/// What is known about one, for engines that choose themselves.
Adapter describe_adapter(const Api& api, VkPhysicalDevice device);

/// The adapter that `wanted` names; core/device/adapter_choice.hpp.
Result<Adapter> choose_adapter(const std::vector<Adapter>& adapters, std::string_view wanted);

}  // namespace kvault::vulkan
