#pragma once

#include <vector>

#include "core/base/assert.hpp"
#include "core/codec/rotation.hpp"
#include "core/layout/block_layout.hpp"

namespace kvault::cpu {

/// The rotation of every head_dim that has one, built once.
class RotationSet {
 public:
  RotationSet() {
    for (std::uint32_t dim = 1; dim <= KVAULT_HEAD_DIM_MAX; ++dim) {
      if (is_supported_head_dim(dim)) rotations_.emplace_back(dim);
    }
  }

  /// pre: is_supported_head_dim(head_dim)
  const Rotation& of(std::uint32_t head_dim) const {
    for (const Rotation& rotation : rotations_) {
      if (rotation.head_dim() == head_dim) return rotation;
    }
    KVAULT_ASSERT(false);
    return rotations_.front();
  }

 private:
  std::vector<Rotation> rotations_;
};

}  // namespace kvault::cpu
