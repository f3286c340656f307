#pragma once

#include <cuda.h>

#include <string_view>

#include "core/base/result.hpp"
#include "core/os/shared_library.hpp"

namespace kvault::cuda {

/// Every function of the driver that is used. Names are those of cuda.h, which makes macros of some
/// of them for their newest version.
#define KVAULT_CUDA_FUNCTIONS(entry)                                                               \
  entry(cuInit) entry(cuDriverGetVersion) entry(cuGetErrorName) entry(cuGetErrorString)            \
      entry(cuDeviceGetCount) entry(cuDeviceGet) entry(cuDeviceGetName) entry(cuDeviceGetUuid)     \
          entry(cuDeviceGetAttribute) entry(cuDeviceTotalMem) entry(cuDevicePrimaryCtxRetain)      \
              entry(cuDevicePrimaryCtxRelease) entry(cuCtxPushCurrent) entry(cuCtxPopCurrent)      \
                  entry(cuModuleLoadData) entry(cuModuleUnload) entry(cuModuleGetFunction) entry(  \
                      cuFuncSetAttribute) entry(cuFuncGetAttribute) entry(cuStreamCreate)          \
                      entry(cuStreamDestroy) entry(cuStreamSynchronize) entry(cuEventCreate)       \
                          entry(cuEventRecord) entry(cuEventSynchronize) entry(cuEventElapsedTime) \
                              entry(cuEventDestroy) entry(cuMemGetInfo) entry(cuMemPoolCreate)     \
                                  entry(cuMemPoolDestroy) entry(cuMemPoolSetAttribute)             \
                                      entry(cuMemAllocFromPoolAsync) entry(cuMemFreeAsync)         \
                                          entry(cuMemHostAlloc) entry(cuMemFreeHost) entry(        \
                                              cuMemcpyHtoDAsync) entry(cuMemcpyDtoHAsync)          \
                                              entry(cuMemcpyDtoDAsync) entry(cuMemsetD8Async)      \
                                                  entry(cuLaunchKernel) entry(cuCtxGetCurrent)     \
                                                      entry(cuCtxGetDevice) entry(cuStreamGetCtx)  \
                                                          entry(cuStreamIsCapturing)               \
                                                              entry(cuPointerGetAttributes)        \
                                                                  entry(cuStreamWaitEvent)

/// The driver, found at run time: nothing of CUDA is linked.
struct Api {
  /// Errc::device_absent where this machine has no driver, or one that lacks a function.
  static Result<Api> load();

#define KVAULT_CUDA_MEMBER(name) decltype(&::name) name = nullptr;
  KVAULT_CUDA_FUNCTIONS(KVAULT_CUDA_MEMBER)
#undef KVAULT_CUDA_MEMBER

  /// What a CUresult means: out_of_memory, device_lost or internal; `what` was tried.
  Result<> check(CUresult result, std::string_view what) const;

  SharedLibrary driver;
};

}  // namespace kvault::cuda
