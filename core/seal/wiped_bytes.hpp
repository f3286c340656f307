#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace kvault {

/// Overwrites bytes with zeros, also where nobody reads them afterwards.
void wipe(std::span<std::byte> bytes) noexcept;
/// Overwrites what calls that have returned left on this thread's stack, 32 KiB of it.
void wipe_stack() noexcept;

/// Memory that is wiped before it goes back, at every growth too.
template <class T>
struct WipingAllocator {
  using value_type = T;
  WipingAllocator() = default;
  template <class U>
  WipingAllocator(const WipingAllocator<U>& /*other*/) noexcept {}
  T* allocate(std::size_t n) { return std::allocator<T>().allocate(n); }
  void deallocate(T* memory, std::size_t n) noexcept {
    wipe(std::as_writable_bytes(std::span(memory, n)));
    std::allocator<T>().deallocate(memory, n);
  }
  friend bool operator==(const WipingAllocator&, const WipingAllocator&) { return true; }
};

/// Bytes among which there may be a token or a key.
using WipedBytes = std::vector<std::byte, WipingAllocator<std::byte>>;

}  // namespace kvault
