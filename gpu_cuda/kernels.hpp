#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>

#include "gpu_cuda/context.hpp"
#include "gpu_cuda/kernel_abi.hpp"

namespace kvault::cuda {

/// Every kernel; kernel_list.inc.
enum class Kernel : std::uint8_t {
#define KVAULT_CUDA_KERNEL(name, file, params, n_thread) name,
#include "gpu_cuda/kernel_list.inc"
#undef KVAULT_CUDA_KERNEL
};
inline constexpr std::size_t kKernels =
#define KVAULT_CUDA_KERNEL(name, file, params, n_thread) +1
#include "gpu_cuda/kernel_list.inc"
#undef KVAULT_CUDA_KERNEL
    ;

/// The kernels as code of one device.
class Kernels {
 public:
  /// Errc::unsupported where the driver has no use for any of the code.
  static Result<std::unique_ptr<Kernels>> load(const Context& context);
  explicit Kernels(const Context& context) : context_(context) {}
  Kernels(const Kernels&) = delete;
  Kernels& operator=(const Kernels&) = delete;
  ~Kernels();

  CUfunction function(Kernel kernel) const { return functions_[static_cast<std::size_t>(kernel)]; }
  static std::uint32_t n_thread(Kernel kernel);
  static const char* symbol(Kernel kernel);

 private:
  const Context& context_;
  std::map<const void*, CUmodule> modules_;  ///< by their image
  std::array<CUfunction, kKernels> functions_ = {};
};

}  // namespace kvault::cuda
