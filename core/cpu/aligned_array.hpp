#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>

namespace kvault::cpu {

struct FreeMemory {
  void operator()(void* memory) const noexcept { std::free(memory); }
};

/// `n` zeroed elements at a 128-byte boundary; throws std::bad_alloc, so only below a catch.
template <class T>
class AlignedArray {
 public:
  AlignedArray() = default;
  explicit AlignedArray(std::size_t n) : n_(n) {
    const std::size_t size_bytes = (n * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    memory_.reset(static_cast<T*>(std::aligned_alloc(kAlignment, size_bytes)));
    if (memory_ == nullptr && n > 0) throw std::bad_alloc();
    for (std::size_t i = 0; i < n; ++i) memory_.get()[i] = T{};
  }

  T* data() { return memory_.get(); }
  const T* data() const { return memory_.get(); }
  std::size_t size() const { return n_; }
  std::span<T> span() { return {memory_.get(), n_}; }

 private:
  static constexpr std::size_t kAlignment = 128;
  std::unique_ptr<T, FreeMemory> memory_;
  std::size_t n_ = 0;
};

}  // namespace kvault::cpu
