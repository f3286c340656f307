#include "gpu_cuda/api.hpp"

namespace kvault::cuda {
namespace {

constexpr const char* kDriverNames[] = {"libcuda.so.1", "libcuda.so", "nvcuda.dll"};

Result<SharedLibrary> open_driver() {
  std::string why;
  for (const char* const name : kDriverNames) {
    Result<SharedLibrary> library = SharedLibrary::open(name);
    if (library) return library;
    if (why.empty()) why = library.error().message;
  }
  return fail(Errc::device_absent, message("cuda: no driver: ", why));
}

}  // namespace

Result<Api> Api::load() {
  Api api;
  KVAULT_TRY(api.driver, open_driver());
#define KVAULT_CUDA_TEXT_(name) #name
#define KVAULT_CUDA_TEXT(name) KVAULT_CUDA_TEXT_(name)
#define KVAULT_CUDA_FIND(name)                                                         \
  api.name = api.driver.find<decltype(&::name)>(KVAULT_CUDA_TEXT(name));               \
  if (api.name == nullptr) {                                                           \
    return fail(Errc::device_absent,                                                   \
                message("cuda: the driver has no function ", KVAULT_CUDA_TEXT(name))); \
  }
  KVAULT_CUDA_FUNCTIONS(KVAULT_CUDA_FIND)
#undef KVAULT_CUDA_FIND
#undef KVAULT_CUDA_TEXT
#undef KVAULT_CUDA_TEXT_
  return api;
}

Result<> Api::check(CUresult result, std::string_view what) const {
  const char* name = nullptr;
  if (result == CUDA_SUCCESS) return {};
  if (cuGetErrorName(result, &name) != CUDA_SUCCESS || name == nullptr) name = "unknown";
  const std::string text =
      message("cuda: ", what, " failed: ", name, " (", static_cast<int>(result), ")");
  switch (result) {
    case CUDA_ERROR_OUT_OF_MEMORY:
    case CUDA_ERROR_MAP_FAILED:
    case CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED:
      return fail(Errc::out_of_memory, text);
    case CUDA_ERROR_DEINITIALIZED:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_DEVICE_UNAVAILABLE:
    case CUDA_ERROR_UNKNOWN:
      return fail(Errc::device_lost, text);
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
    case CUDA_ERROR_NOT_SUPPORTED:
      return fail(Errc::unsupported, text);
    case CUDA_ERROR_NO_DEVICE:
    case CUDA_ERROR_STUB_LIBRARY:
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
    case CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
      return fail(Errc::device_absent, text);
    default:
      return fail(Errc::internal, text);
  }
}

}  // namespace kvault::cuda
