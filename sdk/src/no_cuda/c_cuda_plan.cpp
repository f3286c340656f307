#include "kvault/kvault_cuda.h"
#include "sdk/src/c_boundary.hpp"

// What stands in for src/cuda/ in a build without the CUDA backend: it says so.

namespace {

kvault_status refuse(kvault_error* error) {
  return kvault::c::guard(error, []() -> kvault::Result<> {
    return kvault::fail(kvault::Errc::unsupported, "this build of kvault has no cuda backend");
  });
}

}  // namespace

extern "C" {

kvault_status kvault_cuda_plan_create(kvault_cache*, uint32_t, const kvault_attend_options*,
                                      uint64_t, kvault_cuda_plan** out_plan, kvault_error* error) {
  if (out_plan != nullptr) *out_plan = nullptr;
  return refuse(error);
}

void kvault_cuda_plan_destroy(kvault_cuda_plan*) {}

kvault_status kvault_cuda_plan_update(kvault_cuda_plan*, kvault_error* error) {
  return refuse(error);
}

kvault_status kvault_cuda_plan_attend(kvault_cuda_plan*, kvault_error* error) {
  return refuse(error);
}

}  // extern "C"
