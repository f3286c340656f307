#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "core/device/device.hpp"
#include "core/device/engine_memory.hpp"
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
  bool on_device = false;  ///< `data` is an address in the device's memory: see EngineMemory

  /// A dense view.
  static RowsView dense(const std::byte* data, RowType type, std::uint32_t n_token,
                        std::uint32_t n_head, std::uint32_t head_dim);

  std::size_t row_size_bytes() const { return std::size_t{head_dim} * size_bytes_of(type); }
  std::span<const std::byte> row(std::uint32_t token, std::uint32_t head) const;
  /// pre: on_device
  EngineRows engine_rows() const {
    return {data, type, n_token, n_head, head_dim, token_stride_bytes, head_stride_bytes};
  }
  /// The `count` tokens from `first` on.
  RowsView part(std::uint32_t first, std::uint32_t count) const;
};

/// Rows [first, first + n) of one side of a layer, to be read back.
struct RowsRead {
  Side side = Side::key;
  std::uint64_t first = 0;
  std::uint64_t n = 0;
  RowType type = RowType::f32;  ///< of the target
  std::span<std::byte> target;  ///< [n, n_kv_head, head_dim]
};

/// not_finite, naming token, head and channel, where an element is NaN or infinite.
Result<> check_finite(Device& device, const RowsView& rows, Side side);

}  // namespace kvault
