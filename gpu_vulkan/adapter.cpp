#include "gpu_vulkan/adapter.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

#include "core/device/adapter_choice.hpp"

namespace kvault::vulkan {
namespace {

/// Shared memory of the shaders' widest workgroup, and its threads.
constexpr std::uint32_t kSharedSizeBytes = 16384;
constexpr std::uint32_t kThreads = 128;
constexpr std::uint32_t kPushConstantBytes = 128;

std::string hex(const std::uint8_t* bytes, std::size_t n) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < n; ++i) {
    text += kDigits[bytes[i] >> 4U];
    text += kDigits[bytes[i] & 15U];
  }
  return text;
}

bool has_extension(const Api& api, VkPhysicalDevice device, std::string_view name) {
  std::uint32_t n = 0;
  api.vkEnumerateDeviceExtensionProperties(device, nullptr, &n, nullptr);
  std::vector<VkExtensionProperties> list(n);
  api.vkEnumerateDeviceExtensionProperties(device, nullptr, &n, list.data());
  return std::any_of(list.begin(), list.end(), [&](const VkExtensionProperties& known) {
    return name == std::string_view(known.extensionName);
  });
}

/// Whether it has the extension, which is then enabled.
bool enable(const Api& api, Adapter& adapter, const char* name) {
  const bool is_there = has_extension(api, adapter.handle, name);
  if (is_there) adapter.extensions.push_back(name);
  return is_there;
}

/// A queue family for compute; one without graphics if there is one, as drivers run it beside the
/// screen's.
std::optional<std::uint32_t> find_queue_family(const Api& api, VkPhysicalDevice device) {
  std::uint32_t n = 0;
  api.vkGetPhysicalDeviceQueueFamilyProperties(device, &n, nullptr);
  std::vector<VkQueueFamilyProperties> families(n);
  api.vkGetPhysicalDeviceQueueFamilyProperties(device, &n, families.data());
  std::optional<std::uint32_t> found;
  for (std::uint32_t i = 0; i < n; ++i) {
    if ((families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) == 0) continue;
    const bool has_graphics = (families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT) != 0;
    if (!found || !has_graphics) found = i;
    if (!has_graphics) break;
  }
  return found;
}

void add_reason(Adapter& adapter, bool is_met, std::string_view what) {
  if (is_met) return;
  adapter.why_not += adapter.why_not.empty() ? "it lacks " : ", ";
  adapter.why_not += what;
}

void probe_features(const Api& api, Adapter& adapter) {
  VkPhysicalDeviceShaderIntegerDotProductFeatures dot = {};
  dot.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES;
  VkPhysicalDeviceVulkan12Features core12 = {};
  core12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  core12.pNext = adapter.has_dot_product ? &dot : nullptr;
  VkPhysicalDeviceFeatures2 features = {};
  features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  features.pNext = &core12;
  api.vkGetPhysicalDeviceFeatures2(adapter.handle, &features);
  add_reason(adapter, core12.bufferDeviceAddress != 0, "bufferDeviceAddress");
  add_reason(adapter, core12.timelineSemaphore != 0, "timelineSemaphore");
  adapter.has_dot_product = adapter.has_dot_product && dot.shaderIntegerDotProduct != 0;
}

int rank(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
      return 0;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
      return 1;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
      return 2;
    default:
      return 3;
  }
}

/// What it is and what it can hold.
void read_properties(const VkPhysicalDeviceProperties& properties,
                     const VkPhysicalDeviceVulkan11Properties& core11,
                     const VkPhysicalDeviceVulkan12Properties& core12, Adapter& adapter) {
  adapter.driver =
      message(std::string_view(core12.driverName), " ", std::string_view(core12.driverInfo));
  adapter.uuid = hex(core11.deviceUUID, VK_UUID_SIZE);
  adapter.shared_size_bytes = properties.limits.maxComputeSharedMemorySize;
  adapter.cache_uuid.assign(properties.pipelineCacheUUID,
                            properties.pipelineCacheUUID + VK_UUID_SIZE);
  const VkPhysicalDeviceLimits& limits = properties.limits;
  add_reason(adapter, limits.maxComputeSharedMemorySize >= kSharedSizeBytes,
             message(kSharedSizeBytes, " bytes of shared memory"));
  add_reason(adapter,
             limits.maxComputeWorkGroupInvocations >= kThreads &&
                 limits.maxComputeWorkGroupSize[0] >= kThreads,
             message("workgroups of ", kThreads));
  add_reason(adapter, limits.maxPushConstantsSize >= kPushConstantBytes, "push constants");
}

}  // namespace

Adapter describe_adapter(const Api& api, VkPhysicalDevice device) {
  Adapter adapter;
  adapter.handle = device;
  VkPhysicalDeviceExternalMemoryHostPropertiesEXT import = {};
  import.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT;
  VkPhysicalDeviceShaderIntegerDotProductProperties dot = {};
  dot.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES;
  VkPhysicalDeviceMaintenance4Properties sizes = {};
  sizes.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES;
  VkPhysicalDeviceVulkan11Properties core11 = {};
  core11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES;
  VkPhysicalDeviceVulkan12Properties core12 = {};
  core12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES;
  core12.pNext = &core11;
  VkPhysicalDeviceProperties2 properties = {};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
  api.vkGetPhysicalDeviceProperties2(device, &properties);
  adapter.name = properties.properties.deviceName;
  adapter.type = properties.properties.deviceType;
  if (properties.properties.apiVersion < VK_API_VERSION_1_2) {
    adapter.why_not =
        message("its driver speaks Vulkan ", VK_API_VERSION_MAJOR(properties.properties.apiVersion),
                ".", VK_API_VERSION_MINOR(properties.properties.apiVersion), ", not 1.2");
    return adapter;
  }
  const bool has_import = enable(api, adapter, VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME);
  adapter.has_dot_product = enable(api, adapter, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
  properties.pNext = &core12;
  void** tail = &core11.pNext;
  const auto ask = [&tail](auto& structure) {
    *tail = &structure;
    tail = &structure.pNext;
  };
  if (has_import) ask(import);
  if (adapter.has_dot_product) ask(dot);
  if (has_extension(api, device, VK_KHR_MAINTENANCE_4_EXTENSION_NAME)) ask(sizes);
  api.vkGetPhysicalDeviceProperties2(device, &properties);
  if (sizes.maxBufferSize > 0) adapter.buffer_size_max_bytes = sizes.maxBufferSize;
  adapter.import_alignment_bytes = import.minImportedHostPointerAlignment;
  adapter.is_dot_product_fast = dot.integerDotProduct4x8BitPackedSignedAccelerated != 0;
  adapter.has_memory_budget = enable(api, adapter, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  // Has to be enabled where it is there.
  enable(api, adapter, "VK_KHR_portability_subset");
  read_properties(properties.properties, core11, core12, adapter);
  probe_features(api, adapter);
  const std::optional<std::uint32_t> family = find_queue_family(api, device);
  add_reason(adapter, family.has_value(), "a compute queue");
  adapter.queue_family = family.value_or(0);
  return adapter;
}

Result<std::vector<Adapter>> list_adapters(const Api& api, VkInstance instance) {
  std::uint32_t n = 0;
  const VkResult counted = api.vkEnumeratePhysicalDevices(instance, &n, nullptr);
  // Drivers without a device of theirs, as the loader tells it.
  if (counted == VK_ERROR_INITIALIZATION_FAILED) return std::vector<Adapter>();
  KVAULT_CHECK(check(counted, "listing devices"));
  std::vector<VkPhysicalDevice> handles(n);
  const VkResult listed = api.vkEnumeratePhysicalDevices(instance, &n, handles.data());
  // One may have come since it was asked how many there are, or gone.
  if (listed != VK_INCOMPLETE) KVAULT_CHECK(check(listed, "listing devices"));
  handles.resize(n);
  std::vector<Adapter> adapters;
  for (VkPhysicalDevice handle : handles) adapters.push_back(describe_adapter(api, handle));
  std::stable_sort(adapters.begin(), adapters.end(),
                   [](const Adapter& a, const Adapter& b) { return rank(a.type) < rank(b.type); });
  return adapters;
}

Result<Adapter> choose_adapter(const std::vector<Adapter>& adapters, std::string_view wanted) {
  std::vector<DeviceAdapter> known;
  for (const Adapter& adapter : adapters) {
    known.push_back({.name = adapter.name,
                     .uuid = adapter.uuid,
                     .driver = adapter.driver,
                     .why_not = adapter.why_not});
  }
  KVAULT_TRY(const std::size_t index, kvault::choose_adapter("vulkan", known, wanted));
  return adapters[index];
}

}  // namespace kvault::vulkan
