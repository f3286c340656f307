#include "gpu_vulkan/context.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "gpu_vulkan/import_probe.hpp"

namespace kvault::vulkan {
namespace {

constexpr const char* kValidationLayer = "VK_LAYER_KHRONOS_validation";

bool wants_validation() {
  const char* const value = std::getenv("KVAULT_VULKAN_VALIDATE");
  return value != nullptr && std::strcmp(value, "1") == 0;
}

bool has_layer(const Api& api, std::string_view name) {
  std::uint32_t n = 0;
  api.vkEnumerateInstanceLayerProperties(&n, nullptr);
  std::vector<VkLayerProperties> layers(n);
  api.vkEnumerateInstanceLayerProperties(&n, layers.data());
  return std::any_of(layers.begin(), layers.end(), [&](const VkLayerProperties& layer) {
    return name == std::string_view(layer.layerName);
  });
}

bool has_extension(const Api& api, std::string_view name) {
  std::uint32_t n = 0;
  api.vkEnumerateInstanceExtensionProperties(nullptr, &n, nullptr);
  std::vector<VkExtensionProperties> extensions(n);
  api.vkEnumerateInstanceExtensionProperties(nullptr, &n, extensions.data());
  return std::any_of(extensions.begin(), extensions.end(), [&](const VkExtensionProperties& known) {
    return name == std::string_view(known.extensionName);
  });
}

VKAPI_ATTR VkBool32 VKAPI_CALL end_process(VkDebugUtilsMessageSeverityFlagBitsEXT,
                                           VkDebugUtilsMessageTypeFlagsEXT,
                                           const VkDebugUtilsMessengerCallbackDataEXT* data,
                                           void*) {
  std::fprintf(stderr, "kvault: Vulkan validation: %s\n", data->pMessage);
  std::abort();
}

VkDebugUtilsMessengerCreateInfoEXT messenger_info() {
  VkDebugUtilsMessengerCreateInfoEXT info = {};
  info.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT;
  info.messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                         VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  info.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT;
  info.pfnUserCallback = &end_process;
  return info;
}

constexpr VkMemoryPropertyFlags kHost =
    VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;

struct MemoryWish {
  VkMemoryPropertyFlags needed;
  VkMemoryPropertyFlags wanted;
};
/// Memory that needs a feature which is not enabled, or that cannot hold a buffer.
constexpr VkMemoryPropertyFlags kNever =
    VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT | VK_MEMORY_PROPERTY_PROTECTED_BIT |
    VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD | VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD;
/// By MemoryKind.
constexpr MemoryWish kWishes[kMemoryKinds] = {
    {0, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT},
    {kHost, 0},
    {kHost, VK_MEMORY_PROPERTY_HOST_CACHED_BIT},
};

std::uint64_t left_of(const VkPhysicalDeviceMemoryBudgetPropertiesEXT& budget, std::uint32_t heap) {
  const std::uint64_t all = budget.heapBudget[heap];
  return all - std::min(all, budget.heapUsage[heap]);
}

}  // namespace

Result<std::shared_ptr<const Context>> Context::open(std::string_view wanted) {
  KVAULT_TRY(std::shared_ptr<Context> context, open_once(wanted));
  if (context->imports_host_memory_ && !can_read_mapped_file(*context)) {
    // The driver may have lost the device over it.
    KVAULT_TRY(context, open_once(wanted));
    context->imports_host_memory_ = false;
  }
  return std::shared_ptr<const Context>(std::move(context));
}

Result<std::shared_ptr<Context>> Context::open_once(std::string_view wanted) {
  auto context = std::make_shared<Context>();
  KVAULT_TRY(context->api_, Api::load());
  KVAULT_CHECK(context->create_instance());
  KVAULT_TRY(const std::vector<Adapter> adapters, list_adapters(context->api_, context->instance_));
  KVAULT_TRY(context->adapter_, choose_adapter(adapters, wanted));
  KVAULT_CHECK(context->create_device());
  context->read_memory_types();
  return context;
}

Result<std::vector<Adapter>> Context::list() {
  Context context;
  KVAULT_TRY(context.api_, Api::load());
  KVAULT_CHECK(context.create_instance());
  return list_adapters(context.api_, context.instance_);
}

Context::~Context() {
  if (is_borrowed_) return;
  // A driver that lacks functions may lack these.
  if (device_ != VK_NULL_HANDLE && api_.vkDestroyDevice != nullptr)
    api_.vkDestroyDevice(device_, nullptr);
  if (messenger_ != VK_NULL_HANDLE) {
    api_.vkDestroyDebugUtilsMessengerEXT(instance_, messenger_, nullptr);
  }
  if (instance_ != VK_NULL_HANDLE && api_.vkDestroyInstance != nullptr)
    api_.vkDestroyInstance(instance_, nullptr);
}

Result<> Context::create_instance() {
  std::uint32_t version = 0;
  KVAULT_CHECK(check(api_.vkEnumerateInstanceVersion(&version), "asking for the version"));
  VkApplicationInfo application = {};
  application.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
  application.pApplicationName = "kvault";
  application.apiVersion = std::clamp(version, VK_API_VERSION_1_2, VK_API_VERSION_1_3);
  const VkDebugUtilsMessengerCreateInfoEXT messenger = messenger_info();
  std::vector<const char*> extensions;
  VkInstanceCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  info.pApplicationInfo = &application;
  const bool validates = wants_validation();
  if (validates) {
    if (!has_layer(api_, kValidationLayer)) {
      return fail(
          Errc::unsupported,
          message("vulkan: KVAULT_VULKAN_VALIDATE is 1, but there is no ", kValidationLayer));
    }
    info.pNext = &messenger;
    info.enabledLayerCount = 1;
    info.ppEnabledLayerNames = &kValidationLayer;
    extensions.push_back(VK_EXT_DEBUG_UTILS_EXTENSION_NAME);
  }
  // Drivers on top of another interface, such as Metal, are hidden from who does not ask.
  if (has_extension(api_, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME)) {
    info.flags = VK_INSTANCE_CREATE_ENUMERATE_PORTABILITY_BIT_KHR;
    extensions.push_back(VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME);
  }
  info.enabledExtensionCount = static_cast<std::uint32_t>(extensions.size());
  info.ppEnabledExtensionNames = extensions.data();
  const VkResult created = api_.vkCreateInstance(&info, nullptr, &instance_);
  if (created == VK_ERROR_INCOMPATIBLE_DRIVER) {
    return fail(Errc::device_absent, "vulkan: no driver is installed");
  }
  KVAULT_CHECK(check(created, "creating an instance"));
  KVAULT_CHECK(api_.load_instance(instance_));
  if (!validates) return {};
  return check(api_.vkCreateDebugUtilsMessengerEXT(instance_, &messenger, nullptr, &messenger_),
               "creating a messenger");
}

Result<> Context::create_device() {
  const float priority = 1;
  VkDeviceQueueCreateInfo queue = {};
  queue.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
  queue.queueFamilyIndex = adapter_.queue_family;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;
  VkPhysicalDeviceShaderIntegerDotProductFeatures dot = {};
  dot.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES;
  dot.shaderIntegerDotProduct = VK_TRUE;
  VkPhysicalDeviceVulkan12Features features = {};
  features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  features.bufferDeviceAddress = VK_TRUE;
  features.timelineSemaphore = VK_TRUE;
  if (adapter_.has_dot_product) features.pNext = &dot;
  VkDeviceCreateInfo info = {};
  info.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
  info.pNext = &features;
  info.queueCreateInfoCount = 1;
  info.pQueueCreateInfos = &queue;
  info.enabledExtensionCount = static_cast<std::uint32_t>(adapter_.extensions.size());
  info.ppEnabledExtensionNames = adapter_.extensions.data();
  KVAULT_CHECK(check(api_.vkCreateDevice(adapter_.handle, &info, nullptr, &device_),
                     message("opening \"", adapter_.name, "\"")));
  KVAULT_CHECK(api_.load_device(device_));
  api_.vkGetDeviceQueue(device_, adapter_.queue_family, 0, &queue_);
  has_dot_product_ = adapter_.has_dot_product;
  imports_host_memory_ = adapter_.import_alignment_bytes > 0 && adapter_.is_integrated();
  return {};
}

void Context::read_memory_types() {
  VkPhysicalDeviceMemoryProperties2 properties = {};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2;
  api_.vkGetPhysicalDeviceMemoryProperties2(adapter_.handle, &properties);
  memory_ = properties.memoryProperties;
}

std::vector<std::uint32_t> Context::memory_types(MemoryKind kind, std::uint32_t type_bits) const {
  const MemoryWish& wish = kWishes[static_cast<std::size_t>(kind)];
  std::vector<std::uint32_t> best;
  std::vector<std::uint32_t> rest;
  for (std::uint32_t i = 0; i < memory_.memoryTypeCount; ++i) {
    const VkMemoryPropertyFlags flags = memory_.memoryTypes[i].propertyFlags;
    if (((type_bits >> i) & 1U) == 0 || (flags & kNever) != 0) continue;
    if ((flags & wish.needed) != wish.needed) continue;
    ((flags & wish.wanted) == wish.wanted ? best : rest).push_back(i);
  }
  // Pages in the host's memory would make a discrete device crawl: better that it says it is full.
  const bool is_bound = kind == MemoryKind::device && !adapter_.is_integrated();
  if (!is_bound || best.empty()) best.insert(best.end(), rest.begin(), rest.end());
  return best;
}

/// What the driver says now; zeros where it does not.
VkPhysicalDeviceMemoryBudgetPropertiesEXT Context::read_memory_budget() const {
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {};
  if (!adapter_.has_memory_budget) return budget;
  budget.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT;
  VkPhysicalDeviceMemoryProperties2 properties = {};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2;
  properties.pNext = &budget;
  api_.vkGetPhysicalDeviceMemoryProperties2(adapter_.handle, &properties);
  return budget;
}

std::uint64_t Context::heap_left_bytes(std::uint32_t memory_type) const {
  const std::uint32_t heap = memory_.memoryTypes[memory_type].heapIndex;
  const std::uint64_t size_bytes = memory_.memoryHeaps[heap].size;
  const VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = read_memory_budget();
  if (budget.heapBudget[heap] == 0) return size_bytes;
  return std::min(size_bytes, left_of(budget, heap));
}

std::uint64_t Context::memory_budget_bytes() const {
  const VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = read_memory_budget();
  std::array<bool, VK_MAX_MEMORY_HEAPS> is_used = {};
  for (const std::uint32_t type : memory_types(MemoryKind::device, ~0U)) {
    is_used[memory_.memoryTypes[type].heapIndex] = true;
  }
  std::uint64_t left = 0;
  for (std::uint32_t i = 0; i < memory_.memoryHeapCount; ++i) {
    if (is_used[i]) left += left_of(budget, i);
  }
  return left;
}

}  // namespace kvault::vulkan
