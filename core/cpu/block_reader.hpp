#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/cpu/aligned_array.hpp"
#include "core/layout/block_layout.hpp"

namespace kvault::cpu {

/// The tile of floats that one block becomes.
///   raw    rows in the engine's domain; factors all 1, no mean
///   coded  levels minus centre in the rotated domain: y[t][i] = mean[i] + factor[t] * tile[t][i]
struct BlockTile {
  explicit BlockTile(std::uint32_t head_dim_max);

  AlignedArray<float> values;  ///< K: [stride_dim][128] transposed; V: [128][stride_dim]
  AlignedArray<float> factor;  ///< [128]
  AlignedArray<float> mean;    ///< [stride_dim]; zero where the block has none
  std::uint32_t stride_dim = 0;
  bool is_rotated = false;
  bool has_mean = false;
};

/// Unpacks blocks to tiles. Rows at and past n_valid become zero: whatever stands there never
/// matters. Keeps its scratch, so one per thread.
class BlockReader {
 public:
  explicit BlockReader(std::uint32_t head_dim_max);

  void read_key(std::span<const std::byte> block, BlockFormat format, std::uint32_t head_dim,
                std::uint32_t n_valid, BlockTile& tile);
  void read_value(std::span<const std::byte> block, BlockFormat format, std::uint32_t head_dim,
                  std::uint32_t n_valid, BlockTile& tile);

 private:
  void read_rows(std::span<const std::byte> block, BlockFormat format, std::uint32_t head_dim,
                 std::uint32_t n_valid, std::uint32_t stride, float* rows);
  void read_factors(std::span<const std::byte> block, BlockFormat format, std::uint32_t head_dim,
                    std::uint32_t n_valid, BlockTile& tile);
  void widen_codes(Scheme scheme, std::span<const std::byte> packed, std::size_t n, float* target);

  AlignedArray<std::uint8_t> codes_;  ///< one row or quad row
  AlignedArray<float> floats_;        ///< one quad row
  AlignedArray<float> rows_;          ///< [128][stride], before a transposition
};

}  // namespace kvault::cpu
