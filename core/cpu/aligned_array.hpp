#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <type_traits>

namespace kvault::cpu {

struct FreeMemory {
  void operator()(void* memory) const noexcept { std::free(memory); }
};

/// `n` zeroed elements at a 128-byte boundary; throws std::bad_alloc, so only below a catch. Large
/// ones take memory from the system as it is first used.
template <class T>
class AlignedArray {
 public:
  AlignedArray() = default;
  explicit AlignedArray(std::size_t n) : n_(n) {
    std::size_t size_bytes = n * sizeof(T) + kAlignment;
    memory_.reset(std::calloc(size_bytes, 1));
    if (memory_ == nullptr) throw std::bad_alloc();
    void* address = memory_.get();
    data_ = static_cast<T*>(std::align(kAlignment, n * sizeof(T), address, size_bytes));
    // Where T{} is no more than zeros, this is what calloc() did.
    if constexpr (!std::is_arithmetic_v<T> && !std::is_same_v<T, std::byte>) {
      for (std::size_t i = 0; i < n; ++i) data_[i] = T{};
    }
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return n_; }
  std::span<T> span() { return {data_, n_}; }

 private:
  static constexpr std::size_t kAlignment = 128;
  std::unique_ptr<void, FreeMemory> memory_;
  T* data_ = nullptr;
  std::size_t n_ = 0;
};

}  // namespace kvault::cpu
