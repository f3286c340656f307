#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/half.hpp"
#include "core/codec/rotation.hpp"
#include "core/cpu/aligned_array.hpp"
#include "core/cpu/instruction_set.hpp"
#include "core/layout/scheme.hpp"

namespace kvault::cpu {

/// A stored block and the rows it shall become.
struct BlockDecoding {
  Side side = Side::key;
  BlockFormat format;
  const Rotation& rotation;          ///< of the block's head_dim
  std::span<const std::byte> block;  ///< a whole block, 128-byte aligned
  std::span<const Half> equaliser;   ///< [head_dim], or empty: all ones; no matter where raw
  RowType row_type = RowType::f16;   ///< of the rows
  std::size_t row_stride = 0;        ///< from a token's row to the next, in elements
};

/// Memory of one decoding at a time, enough for the widest head. Only the kernels look into it.
struct DecodeScratch {
  DecodeScratch();

  AlignedArray<float> factor;        ///< [head_dim] what a row is multiplied by after its sums
  AlignedArray<float> mean;          ///< [head_dim], or zeros
  AlignedArray<float> token_factor;  ///< [128] of levels
  AlignedArray<float> rows;          ///< [16, head_dim]
  AlignedArray<std::int8_t> levels;  ///< a quad row
  AlignedArray<std::uint8_t> work;   ///< the nibbles of a quad row
};

/// Blocks back to rows, rotation and equalisation undone. Keeps its scratch and allocates nothing
/// else, so one per thread.
class BlockDecoder {
 public:
  /// pre: this build holds the set and is_supported(set)
  explicit BlockDecoder(InstructionSet set);

  /// rows [128, row_stride] of the decoding's row type, aligned for it, without what follows the
  /// last row.
  void decode(const BlockDecoding& decoding, std::span<std::byte> rows);

 private:
  void (*decode_)(const BlockDecoding& decoding, DecodeScratch& scratch, std::byte* rows);
  DecodeScratch scratch_;
};

}  // namespace kvault::cpu
