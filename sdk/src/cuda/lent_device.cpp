#include "sdk/src/lent_device.hpp"

#include "gpu_cuda/cuda_device.hpp"
#include "sdk/src/c_boundary.hpp"

namespace kvault::c {
namespace {

constexpr std::uint32_t kKnown = KVAULT_CUDA_ROWS_ARE_FINITE;

}  // namespace

Result<SharedDevice> open_lent_device(const kvault_cuda_device& options) {
  KVAULT_TRY(const kvault_cuda_device given, read_options(&options, "cuda_device"));
  if ((given.flags & ~kKnown) != 0) {
    return fail(Errc::unsupported, message("cuda_device.flags is ", given.flags,
                                           ", of which this version knows ", kKnown));
  }
  KVAULT_TRY(std::unique_ptr<Device> device,
             cuda::open_lent_device(
                 {.context = static_cast<CUcontext>(given.context),
                  .stream = static_cast<CUstream>(given.stream),
                  .rows_are_finite = (given.flags & KVAULT_CUDA_ROWS_ARE_FINITE) != 0}));
  return SharedDevice{.device = std::move(device), .engine_buffers = nullptr};
}

}  // namespace kvault::c
