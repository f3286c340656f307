#include "gpu_vulkan/api.hpp"

namespace kvault::vulkan {
namespace {

constexpr const char* kLoaderNames[] = {"libvulkan.so.1", "libvulkan.so", "vulkan-1.dll",
                                        "libvulkan.1.dylib"};

tl::unexpected<Error> lacks(std::string_view name) {
  return fail(Errc::device_absent, message("vulkan: the driver has no function ", name));
}

}  // namespace

Result<Api> Api::load() {
  std::string why;
  for (const char* const name : kLoaderNames) {
    Result<SharedLibrary> library = SharedLibrary::open(name);
    if (!library) {
      if (why.empty()) why = library.error().message;
      continue;
    }
    KVAULT_TRY(Api api, load(library->find<PFN_vkGetInstanceProcAddr>("vkGetInstanceProcAddr")));
    api.loader = std::move(*library);
    return api;
  }
  return fail(Errc::device_absent, message("vulkan: no loader: ", why));
}

Result<Api> Api::load(PFN_vkGetInstanceProcAddr get_instance_proc) {
  Api api;
  api.vkGetInstanceProcAddr = get_instance_proc;
  if (get_instance_proc == nullptr) return lacks("vkGetInstanceProcAddr");
#define KVAULT_VULKAN_FIND(name)                                                      \
  api.name = reinterpret_cast<PFN_##name>(api.vkGetInstanceProcAddr(nullptr, #name)); \
  if (api.name == nullptr) return lacks(#name);
  KVAULT_VULKAN_GLOBAL_FUNCTIONS(KVAULT_VULKAN_FIND)
#undef KVAULT_VULKAN_FIND
  return api;
}

Result<> Api::load_instance(VkInstance instance) {
#define KVAULT_VULKAN_FIND_OPTIONAL(name) \
  name = reinterpret_cast<PFN_##name>(vkGetInstanceProcAddr(instance, #name));
#define KVAULT_VULKAN_FIND(name)    \
  KVAULT_VULKAN_FIND_OPTIONAL(name) \
  if (name == nullptr) return lacks(#name);
  KVAULT_VULKAN_INSTANCE_FUNCTIONS(KVAULT_VULKAN_FIND)
  KVAULT_VULKAN_OPTIONAL_INSTANCE_FUNCTIONS(KVAULT_VULKAN_FIND_OPTIONAL)
#undef KVAULT_VULKAN_FIND
#undef KVAULT_VULKAN_FIND_OPTIONAL
  return {};
}

Result<> Api::load_device(VkDevice device) {
#define KVAULT_VULKAN_FIND_OPTIONAL(name) \
  name = reinterpret_cast<PFN_##name>(vkGetDeviceProcAddr(device, #name));
#define KVAULT_VULKAN_FIND(name)    \
  KVAULT_VULKAN_FIND_OPTIONAL(name) \
  if (name == nullptr) return lacks(#name);
  KVAULT_VULKAN_DEVICE_FUNCTIONS(KVAULT_VULKAN_FIND)
  KVAULT_VULKAN_OPTIONAL_DEVICE_FUNCTIONS(KVAULT_VULKAN_FIND_OPTIONAL)
#undef KVAULT_VULKAN_FIND
#undef KVAULT_VULKAN_FIND_OPTIONAL
  return {};
}

Result<> check(VkResult result, std::string_view what) {
  switch (result) {
    case VK_SUCCESS:
      return {};
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_MEMORY_MAP_FAILED:
    case VK_ERROR_TOO_MANY_OBJECTS:
      return fail(Errc::out_of_memory,
                  message("vulkan: out of memory: ", what, " (VkResult ", result, ")"));
    case VK_ERROR_DEVICE_LOST:
      return fail(Errc::device_lost, message("vulkan: the device was lost: ", what));
    case VK_ERROR_INVALID_EXTERNAL_HANDLE:
    case VK_ERROR_FEATURE_NOT_PRESENT:
      return fail(Errc::unsupported,
                  message("vulkan: the driver refuses: ", what, " (VkResult ", result, ")"));
    default:
      return fail(Errc::internal, message("vulkan: ", what, " failed: VkResult ", result));
  }
}

}  // namespace kvault::vulkan
