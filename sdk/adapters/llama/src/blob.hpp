#pragma once

#include <cstddef>
#include <span>

#include "core/os/large_memory.hpp"

namespace kvault::llama {

/// Bytes that are not zeroed before they are filled: a state is as large as a cache.
class Blob {
 public:
  Blob() = default;
  explicit Blob(std::size_t size_bytes) { static_cast<void>(grow(size_bytes)); }

  std::span<const std::byte> bytes() const { return {data_.get(), size_bytes_}; }
  std::span<std::byte> bytes() { return {data_.get(), size_bytes_}; }

  /// Room for so many bytes in all, so that grow() moves nothing.
  void reserve(std::size_t capacity_bytes);
  /// The bytes that are new at the end. What was returned before may move.
  std::span<std::byte> grow(std::size_t more_bytes);
  /// Keeps the memory.
  void clear() { size_bytes_ = 0; }

 private:
  LargeMemory data_;
  std::size_t size_bytes_ = 0;
  std::size_t capacity_bytes_ = 0;
};

}  // namespace kvault::llama
