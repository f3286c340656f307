#include <algorithm>

#include "gpu_vulkan/context.hpp"

// A context over an engine's device: nothing tells what the engine has enabled, so that what can be
// asked for is asked for, and what cannot is off unless the engine names it.

namespace kvault::vulkan {
namespace {

Result<> check_handles(const BorrowedDevice& borrowed) {
  const struct {
    bool is_there;
    std::string_view name;
  } handles[] = {{borrowed.instance != VK_NULL_HANDLE, "instance"},
                 {borrowed.physical_device != VK_NULL_HANDLE, "physical device"},
                 {borrowed.device != VK_NULL_HANDLE, "device"},
                 {borrowed.queue != VK_NULL_HANDLE, "queue"}};
  for (const auto& handle : handles) {
    if (handle.is_there) continue;
    return fail(Errc::invalid_argument,
                message("vulkan: a device is lent, but its ", handle.name, " is null"));
  }
  const QueueLock& lock = borrowed.queue_lock;
  if ((lock.lock_queue == nullptr) == (lock.unlock_queue == nullptr)) return {};
  return fail(
      Errc::invalid_argument,
      message("vulkan: the lent queue can be ", lock.lock_queue == nullptr ? "unlocked" : "locked",
              ", but not ", lock.lock_queue == nullptr ? "locked" : "unlocked"));
}

/// A handle of another instance would be taken for what it is not.
Result<> check_physical_device(const Api& api, const BorrowedDevice& borrowed) {
  std::uint32_t n = 0;
  KVAULT_CHECK(
      check(api.vkEnumeratePhysicalDevices(borrowed.instance, &n, nullptr), "listing devices"));
  std::vector<VkPhysicalDevice> devices(n);
  const VkResult listed = api.vkEnumeratePhysicalDevices(borrowed.instance, &n, devices.data());
  // One may have come since it was asked how many there are.
  if (listed != VK_INCOMPLETE) KVAULT_CHECK(check(listed, "listing devices"));
  devices.resize(n);
  if (std::find(devices.begin(), devices.end(), borrowed.physical_device) != devices.end()) {
    return {};
  }
  return fail(Errc::invalid_argument, message("vulkan: the lent physical device is none of the ", n,
                                              " of the lent instance"));
}

Result<> check_queue_family(const Api& api, const BorrowedDevice& borrowed) {
  std::uint32_t n = 0;
  api.vkGetPhysicalDeviceQueueFamilyProperties(borrowed.physical_device, &n, nullptr);
  std::vector<VkQueueFamilyProperties> families(n);
  api.vkGetPhysicalDeviceQueueFamilyProperties(borrowed.physical_device, &n, families.data());
  if (borrowed.queue_family >= n) {
    return fail(Errc::out_of_range,
                message("vulkan: the lent queue is of family ", borrowed.queue_family, " of ", n));
  }
  if ((families[borrowed.queue_family].queueFlags & VK_QUEUE_COMPUTE_BIT) != 0) return {};
  return fail(Errc::unsupported, message("vulkan: the lent queue is of family ",
                                         borrowed.queue_family, ", which cannot compute"));
}

/// Whether what is said to be enabled can be.
Result<> check_enabled(const Api& api, const Adapter& adapter, const BorrowedDevice& borrowed) {
  const auto refuse = [&](std::string_view what) {
    return fail(Errc::invalid_argument, message("vulkan: ", what, " is said to be enabled, but \"",
                                                adapter.name, "\" does not have it"));
  };
  if (borrowed.has_dot_product && !adapter.has_dot_product) return refuse("the dot product");
  if (!borrowed.imports_host_memory) return {};
  if (adapter.import_alignment_bytes == 0) {
    return refuse(VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME);
  }
  if (api.vkGetMemoryHostPointerPropertiesEXT != nullptr) return {};
  return fail(Errc::invalid_argument,
              message("vulkan: ", VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME,
                      " is said to be enabled, but the lent device was made without it"));
}

}  // namespace

Result<std::shared_ptr<const Context>> Context::borrow(const BorrowedDevice& borrowed) {
  auto context = std::make_shared<Context>();
  KVAULT_CHECK(context->adopt_device(borrowed));
  context->read_memory_types();
  if (context->imports_host_memory_) {
    // To find out may lose a device, which must not be the engine's.
    const Result<std::shared_ptr<const Context>> own = open(context->adapter_.uuid);
    context->imports_host_memory_ = own && (*own)->imports_host_memory();
  }
  return std::shared_ptr<const Context>(std::move(context));
}

Result<> Context::adopt_device(const BorrowedDevice& borrowed) {
  KVAULT_CHECK(check_handles(borrowed));
  is_borrowed_ = true;
  if (borrowed.get_instance_proc != nullptr) {
    KVAULT_TRY(api_, Api::load(borrowed.get_instance_proc));
  } else {
    KVAULT_TRY(api_, Api::load());
  }
  instance_ = borrowed.instance;
  device_ = borrowed.device;
  queue_ = borrowed.queue;
  queue_lock_ = borrowed.queue_lock;
  KVAULT_CHECK(api_.load_instance(instance_));
  KVAULT_CHECK(api_.load_device(device_));
  KVAULT_CHECK(check_physical_device(api_, borrowed));
  KVAULT_CHECK(check_queue_family(api_, borrowed));
  adapter_ = describe_adapter(api_, borrowed.physical_device);
  adapter_.queue_family = borrowed.queue_family;
  if (!adapter_.why_not.empty()) {
    return fail(Errc::unsupported,
                message("vulkan: \"", adapter_.name, "\" cannot be used: ", adapter_.why_not));
  }
  KVAULT_CHECK(check_enabled(api_, adapter_, borrowed));
  has_dot_product_ = borrowed.has_dot_product;
  imports_host_memory_ = borrowed.imports_host_memory && adapter_.is_integrated();
  return {};
}

}  // namespace kvault::vulkan
