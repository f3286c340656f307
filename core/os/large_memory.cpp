#include "core/os/large_memory.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace kvault {
namespace {

constexpr std::size_t kLargePage = std::size_t{2} << 20U;

std::byte* allocate_aligned(std::size_t size_bytes) {
  const std::size_t rounded = (size_bytes + kLargePage - 1) / kLargePage * kLargePage;
  void* const memory = std::aligned_alloc(kLargePage, rounded);
  // A hint: pages of the usual size do as well.
  if (memory != nullptr) static_cast<void>(::madvise(memory, rounded, MADV_HUGEPAGE));
  return static_cast<std::byte*>(memory);
}

}  // namespace

LargeMemory allocate_large(std::size_t size_bytes) {
  const bool is_large = size_bytes >= kLargeMemoryMin && size_bytes < SIZE_MAX - kLargePage;
  LargeMemory memory(is_large ? allocate_aligned(size_bytes)
                              : static_cast<std::byte*>(std::malloc(size_bytes + 1)));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace kvault
