#include "sdk/src/lent_device.hpp"

#include "gpu_vulkan/engine_buffers.hpp"
#include "gpu_vulkan/vulkan_device.hpp"
#include "sdk/src/c_boundary.hpp"

namespace kvault::c {
namespace {

constexpr std::uint32_t kKnown = KVAULT_VULKAN_DOT_PRODUCT | KVAULT_VULKAN_HOST_IMPORT;

vulkan::BorrowedDevice to_borrowed(const kvault_vulkan_device& given) {
  return {.get_instance_proc =
              reinterpret_cast<PFN_vkGetInstanceProcAddr>(given.get_instance_proc_addr),
          .instance = static_cast<VkInstance>(given.instance),
          .physical_device = static_cast<VkPhysicalDevice>(given.physical_device),
          .device = static_cast<VkDevice>(given.device),
          .queue = static_cast<VkQueue>(given.queue),
          .queue_family = given.queue_family,
          .queue_lock = {given.lock_queue, given.unlock_queue, given.queue_user},
          .has_dot_product = (given.enabled & KVAULT_VULKAN_DOT_PRODUCT) != 0,
          .imports_host_memory = (given.enabled & KVAULT_VULKAN_HOST_IMPORT) != 0};
}

}  // namespace

Result<SharedDevice> open_lent_device(const kvault_vulkan_device& options) {
  KVAULT_TRY(const kvault_vulkan_device given, read_options(&options, "vulkan_device"));
  if ((given.enabled & ~kKnown) != 0) {
    return fail(Errc::unsupported, message("vulkan_device.enabled is ", given.enabled,
                                           ", of which this version knows ", kKnown));
  }
  KVAULT_TRY(std::shared_ptr<const vulkan::Context> context,
             vulkan::Context::borrow(to_borrowed(given)));
  KVAULT_TRY(std::shared_ptr<vulkan::Runtime> runtime, vulkan::Runtime::create(std::move(context)));
  SharedDevice shared;
  shared.engine_buffers = std::make_shared<vulkan::EngineBuffers>(runtime);
  shared.device = vulkan::open_device(std::move(runtime));
  return shared;
}

}  // namespace kvault::c
