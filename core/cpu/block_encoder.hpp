#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/half.hpp"
#include "core/codec/rotation.hpp"
#include "core/codec/scale_rule.hpp"
#include "core/cpu/aligned_array.hpp"
#include "core/cpu/instruction_set.hpp"
#include "core/layout/scheme.hpp"

namespace kvault::cpu {

/// A raw block and what it shall become.
struct BlockEncoding {
  Side side = Side::key;
  BlockFormat format;  ///< coded
  ScaleRule rule = kDefaultScaleRule;
  const Rotation& rotation;  ///< of the block's head_dim
  RowType row_type = RowType::f16;
  std::span<const std::byte> rows;  ///< [128, head_dim] of row_type and aligned for it, finite
  std::span<const Half> equaliser;  ///< [head_dim], or empty: all ones
};

/// Memory of one encoding at a time, enough for the widest head. Only the kernels look into it.
struct EncodeScratch {
  EncodeScratch();

  AlignedArray<float> factor;        ///< [head_dim] what a row is multiplied by before its sums
  AlignedArray<float> rows;          ///< [128, head_dim] rotated
  AlignedArray<float> column_sum;    ///< [head_dim]
  AlignedArray<float> mean;          ///< [head_dim] as rounded, or zeros
  AlignedArray<Half> mean_half;      ///< [padded head_dim]
  AlignedArray<float> energy;        ///< [128] |y|^2, later |r|^2
  AlignedArray<float> residual;      ///< [128] |r|^2 while centring is being decided; q8: max|r|
  AlignedArray<float> token_factor;  ///< [128] see RowQuad
  AlignedArray<float> squares;       ///< [128] see QuadSums
  AlignedArray<float> products;      ///< [128] likewise
  AlignedArray<Half> scale;          ///< [128]
  AlignedArray<std::uint8_t> quad;   ///< [padded head_dim, 4] codes of a quad row
  AlignedArray<std::uint8_t> token_rows;  ///< [4, padded head_dim] the same by token
  AlignedArray<std::uint8_t> work;        ///< the nibbles of a quad row
  AlignedArray<std::uint8_t> packed;      ///< the codes plane
};

/// Seals raw blocks into coded ones; docs/format.md, "Encoding". Keeps its scratch and allocates
/// nothing else, so one per thread.
class BlockEncoder {
 public:
  /// pre: this build holds the set and is_supported(set)
  explicit BlockEncoder(InstructionSet set);

  /// Writes the whole block, padding included, or nothing and returns false where a scale or mean
  /// exceeds binary16.
  [[nodiscard]] bool encode(const BlockEncoding& encoding, std::span<std::byte> target);

 private:
  bool (*encode_)(const BlockEncoding& encoding, EncodeScratch& scratch,
                  std::span<std::byte> target);
  EncodeScratch scratch_;
};

}  // namespace kvault::cpu
