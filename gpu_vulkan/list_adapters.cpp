#include <new>

#include "gpu_vulkan/vulkan_device.hpp"

namespace kvault::vulkan {
namespace {

AdapterKind kind_of(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
      return AdapterKind::discrete;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
      return AdapterKind::integrated;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
      return AdapterKind::virtual_gpu;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
      return AdapterKind::cpu;
    default:
      return AdapterKind::other;
  }
}

}  // namespace

Result<std::vector<DeviceAdapter>> list_adapters() try {
  KVAULT_TRY(const std::vector<Adapter> adapters, Context::list());
  if (adapters.empty()) return fail(Errc::device_absent, "vulkan: no device has a driver");
  std::vector<DeviceAdapter> list;
  for (const Adapter& adapter : adapters) {
    DeviceAdapter entry{.name = adapter.name,
                        .uuid = adapter.uuid,
                        .kind = kind_of(adapter.type),
                        .driver = adapter.driver,
                        .why_not = adapter.why_not};
    if (entry.why_not.empty()) {
      const auto context = Context::open(std::to_string(list.size()));
      if (context) entry.memory_budget_bytes = (*context)->memory_budget_bytes();
      if (!context) entry.why_not = context.error().message;
    }
    list.push_back(std::move(entry));
  }
  return list;
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, "vulkan: no memory to list devices");
}

}  // namespace kvault::vulkan
