#include "gpu_cuda/kernels.hpp"

#include "kernel_images.hpp"

namespace kvault::cuda {
namespace {

struct KernelEntry {
  const char* symbol;
  const void* image;
  std::uint32_t n_thread;
};

constexpr KernelEntry kEntries[] = {
#define KVAULT_CUDA_KERNEL(name, file, params, n_thread) \
  {"kvault_" #name, kvault_image_##file, n_thread},
#include "gpu_cuda/kernel_list.inc"
#undef KVAULT_CUDA_KERNEL
};

}  // namespace

std::uint32_t Kernels::n_thread(Kernel kernel) {
  return kEntries[static_cast<std::size_t>(kernel)].n_thread;
}

const char* Kernels::symbol(Kernel kernel) {
  return kEntries[static_cast<std::size_t>(kernel)].symbol;
}

Result<std::unique_ptr<Kernels>> Kernels::load(const Context& context) {
  const Context::Scope scope(context);
  auto kernels = std::make_unique<Kernels>(context);
  const Api& api = context.api();
  for (std::size_t i = 0; i < kKernels; ++i) {
    const KernelEntry& entry = kEntries[i];
    CUmodule& module = kernels->modules_[entry.image];
    if (module == nullptr) {
      KVAULT_CHECK(context.check(api.cuModuleLoadData(&module, entry.image),
                                 message("loading ", entry.symbol)));
    }
    KVAULT_CHECK(
        context.check(api.cuModuleGetFunction(&kernels->functions_[i], module, entry.symbol),
                      message("finding ", entry.symbol)));
  }
  return kernels;
}

Kernels::~Kernels() {
  const Context::Scope scope(context_);
  for (const auto& [image, module] : modules_) {
    if (module != nullptr) (void)context_.api().cuModuleUnload(module);
  }
}

}  // namespace kvault::cuda
