#pragma once

#include <cstring>
#include <utility>
#include <vector>

#include "core/base/assert.hpp"
#include "core/layout/block_layout.hpp"
#include "gpu_cuda/runtime.hpp"

namespace kvault::cuda {

/// The arrays that a call hands to its kernels, in one piece of device memory that goes there in
/// one copy. First all reserve(), then begin(), then all add() and send().
class CallTables {
 public:
  explicit CallTables(Runtime& runtime) : runtime_(runtime), memory_(runtime) {}
  /// Of a call that comes again much alike; see KeptTables.
  CallTables(Runtime& runtime, KeptTables& kept, const KeptTables::Key& key)
      : runtime_(runtime), kept_(&kept), key_(key), memory_(runtime) {}

  void reserve(std::uint64_t array_bytes) { size_bytes_ += align_up(array_bytes, kAlignmentBytes); }
  Result<> begin() {
    bytes_.reserve(size_bytes_);
    if (kept_ != nullptr) {
      KVAULT_TRY(address_, kept_->place(key_, size_bytes_));
      return {};
    }
    KVAULT_CHECK(memory_.allocate(size_bytes_));
    address_ = memory_.address();
    return {};
  }
  /// Where the copy of the array will stand on the device.
  template <class T>
  const T* add(std::span<const T> values) {
    const std::uint64_t at = align_up(bytes_.size(), kAlignmentBytes);
    KVAULT_ASSERT(at + values.size_bytes() <= size_bytes_);
    bytes_.resize(at + values.size_bytes());
    if (!values.empty()) std::memcpy(bytes_.data() + at, values.data(), values.size_bytes());
    return reinterpret_cast<const T*>(address_ + at);
  }
  /// Once, and nothing is added afterwards.
  Result<> send() {
    if (kept_ != nullptr) return kept_->send(key_, std::move(bytes_));
    return runtime_.upload(address_, bytes_);
  }

 private:
  static constexpr std::uint64_t kAlignmentBytes = 16;

  Runtime& runtime_;
  KeptTables* kept_ = nullptr;
  KeptTables::Key key_;
  CallMemory memory_;  ///< where nothing is kept
  CUdeviceptr address_ = 0;
  std::uint64_t size_bytes_ = 0;
  std::vector<std::byte> bytes_;
};

}  // namespace kvault::cuda
