#include "sdk/src/lent_device.hpp"

// What stands in for src/cuda/ in a build without the CUDA backend: it says so.

namespace kvault::c {

Result<SharedDevice> open_lent_device(const kvault_cuda_device&) {
  return fail(Errc::unsupported, "this build of kvault has no cuda backend");
}

}  // namespace kvault::c
