#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/half.hpp"
#include "core/layout/scheme.hpp"

namespace kvault::tools {

/// Fills blocks with what an encoder might have written for rows of variance about 1: all codes of
/// the scheme, scales and means that keep logits as spread as in a model. Much faster than
/// encoding.
class RandomBlocks {
 public:
  explicit RandomBlocks(std::uint32_t head_dim);

  /// `block` has room for the format's layout.
  void fill(BlockFormat format, std::byte* block);
  /// N(0, 1), of 4096 different values.
  Half normal() { return normals_[next() % normals_.size()]; }

 private:
  std::uint64_t next();
  void fill_rows(std::byte* block);
  void fill_codes(std::byte* codes, std::uint64_t size_bytes);

  std::uint32_t head_dim_;
  std::uint64_t state_ = 1;
  std::vector<Half> normals_;
};

}  // namespace kvault::tools
