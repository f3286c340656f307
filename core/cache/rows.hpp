#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "core/layout/scheme.hpp"

namespace kvault {

/// Rows of one side as an engine holds them: [n_token, n_head, head_dim], borrowed. Strides are in
/// bytes; elements of a row are dense.
struct RowsView {
  const std::byte* data = nullptr;
  RowType type = RowType::f16;
  std::uint32_t n_token = 0;
  std::uint32_t n_head = 0;
  std::uint32_t head_dim = 0;
  std::int64_t token_stride_bytes = 0;
  std::int64_t head_stride_bytes = 0;

  /// A dense view.
  static RowsView dense(const std::byte* data, RowType type, std::uint32_t n_token,
                        std::uint32_t n_head, std::uint32_t head_dim);

  std::size_t row_size_bytes() const { return std::size_t{head_dim} * size_bytes_of(type); }
  std::span<const std::byte> row(std::uint32_t token, std::uint32_t head) const;
  /// The `count` tokens from `first` on.
  RowsView part(std::uint32_t first, std::uint32_t count) const;
};

/// not_finite, naming token, head and channel, where an element is NaN or infinite.
Result<> check_finite(const RowsView& rows, Side side);

}  // namespace kvault
