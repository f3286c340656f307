#include "tests/cuda_emulator/memory.hpp"

#include <cstdlib>
#include <cstring>

namespace kvault::cuda::emulator {
namespace {

constexpr std::size_t kDeviceBytes = std::size_t{4} << 30U;
constexpr unsigned char kPoison = 0xFF;
/// As a GPU's is.
constexpr std::size_t kAlignmentBytes = 256;

}  // namespace

CUdeviceptr Memory::allocate(std::size_t size_bytes, CUmemorytype type, CUcontext context) {
  if (size_bytes > kDeviceBytes) return 0;
  const std::size_t whole_bytes =
      (size_bytes + kAlignmentBytes - 1) / kAlignmentBytes * kAlignmentBytes;
  void* const memory = std::aligned_alloc(kAlignmentBytes, whole_bytes);
  if (memory == nullptr) return 0;
  std::memset(memory, kPoison, size_bytes);
  const auto address = reinterpret_cast<CUdeviceptr>(memory);
  ranges_[address] = {address, size_bytes, type, context};
  return address;
}

void Memory::free(CUdeviceptr address) {
  if (ranges_.erase(address) != 0) std::free(reinterpret_cast<void*>(address));
}

const Memory::Range* Memory::find(CUdeviceptr address) const {
  const auto next = ranges_.upper_bound(address);
  if (next == ranges_.begin()) return nullptr;
  const Range& range = std::prev(next)->second;
  return address - range.begin < range.size_bytes ? &range : nullptr;
}

bool Memory::holds(CUdeviceptr address, std::size_t size_bytes, CUmemorytype type) const {
  const Range* const range = find(address);
  return range != nullptr && range->type == type &&
         size_bytes <= range->size_bytes - (address - range->begin);
}

}  // namespace kvault::cuda::emulator
