#pragma once

#include <cuda.h>

#include <cstddef>
#include <map>

namespace kvault::cuda::emulator {

/// Memory that the driver gave out: the heap's, filled with NaN, so that a sanitizer sees it.
class Memory {
 public:
  struct Range {
    CUdeviceptr begin = 0;
    std::size_t size_bytes = 0;
    CUmemorytype type = CU_MEMORYTYPE_DEVICE;
    CUcontext context = nullptr;
  };

  /// 0 where there is none.
  CUdeviceptr allocate(std::size_t size_bytes, CUmemorytype type, CUcontext context);
  void free(CUdeviceptr address);
  /// That holds the address, or null.
  const Range* find(CUdeviceptr address) const;
  /// Whether all of the bytes are in one range of that type.
  bool holds(CUdeviceptr address, std::size_t size_bytes, CUmemorytype type) const;

 private:
  std::map<CUdeviceptr, Range> ranges_;  ///< by their begin
};

}  // namespace kvault::cuda::emulator
