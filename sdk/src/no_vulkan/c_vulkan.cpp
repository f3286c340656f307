#include "sdk/src/c_boundary.hpp"
#include "sdk/src/lent_device.hpp"

// What stands in for src/vulkan/ in a build without the Vulkan backend: it says so.

namespace kvault::c {
namespace {

tl::unexpected<Error> refuse() {
  return fail(Errc::unsupported, "this build of kvault has no vulkan backend");
}

kvault_status refuse(kvault_error* error) {
  return guard(error, []() -> Result<> { return refuse(); });
}

}  // namespace

Result<SharedDevice> open_lent_device(const kvault_vulkan_device&) { return refuse(); }

}  // namespace kvault::c

extern "C" {

kvault_status kvault_vulkan_append(kvault_cache*, uint32_t, const kvault_vulkan_rows*,
                                   const kvault_vulkan_rows*, const kvault_vulkan_wait*,
                                   kvault_error* error) {
  return kvault::c::refuse(error);
}

kvault_status kvault_vulkan_attend(kvault_cache*, uint32_t, const kvault_attend_options*,
                                   const kvault_vulkan_attend_buffers*, const kvault_vulkan_wait*,
                                   kvault_error* error) {
  return kvault::c::refuse(error);
}

kvault_status kvault_vulkan_append_attend(kvault_cache*, uint32_t, const kvault_vulkan_rows*,
                                          const kvault_vulkan_rows*, const kvault_attend_options*,
                                          const kvault_vulkan_attend_buffers*,
                                          const kvault_vulkan_wait*, kvault_error* error) {
  return kvault::c::refuse(error);
}

}  // extern "C"
