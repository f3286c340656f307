#include "sdk/adapters/llama/src/blob.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace kvault::llama {

void Blob::reserve(std::size_t capacity_bytes) {
  if (capacity_bytes <= capacity_bytes_) return;
  LargeMemory data = allocate_large(capacity_bytes);
  if (size_bytes_ > 0) std::memcpy(data.get(), data_.get(), size_bytes_);
  data_ = std::move(data);
  capacity_bytes_ = capacity_bytes;
}

std::span<std::byte> Blob::grow(std::size_t more_bytes) {
  const std::size_t begin = size_bytes_;
  if (more_bytes > capacity_bytes_ - begin) {
    reserve(std::max(begin + more_bytes, 2 * capacity_bytes_));
  }
  size_bytes_ += more_bytes;
  return bytes().subspan(begin);
}

}  // namespace kvault::llama
