#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace kvault {

struct FreeMemory {
  void operator()(std::byte* memory) const noexcept { std::free(memory); }
};
using LargeMemory = std::unique_ptr<std::byte[], FreeMemory>;

/// What counts as large.
inline constexpr std::size_t kLargeMemoryMin = std::size_t{4} << 20U;

/// Memory that is not filled; throws std::bad_alloc. Where it is large it begins at a large page of
/// the system's, which is asked for such pages: it comes fresh from the system, and page by page
/// its faults cost more than filling it.
LargeMemory allocate_large(std::size_t size_bytes);

}  // namespace kvault
