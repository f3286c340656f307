#pragma once

#include "gpu_cuda/kernels/block.cuh"

// The code that is nearest to a number, and its level, by one look-up. Levels are a half more than
// an integer, so that the middles between them are integers in half levels: the integer below a
// number, in half levels, says its code.

namespace kvault::cuda {

class CodeTable {
 public:
  /// Half levels times this are what find() takes.
  static constexpr float kUnit = 1.0F / 256;

  /// For codes of `scheme`, by all threads of a block; a sync_block() has to follow.
  KVAULT_DEVICE void load(const Levels& levels, u32 scheme) {
    const float* const level = levels.of(scheme);
    for (u32 cell = thread_index(); cell < kCells; cell += n_thread()) {
      const float least = static_cast<float>(cell) - kCentre;
      u32 code = 0;
      while (code + 1 < 1U << code_bits(scheme) && level[code] + level[code + 1] <= least) ++code;
      // A level's lowest bits are zeros. Codes make positive ones a little smaller and the others
      // larger, so that products are off both ways.
      const u32 n_code = 1U << code_bits(scheme);
      const u32 word = float_as_bits(level[code]) + code - (level[code] > 0 ? n_code : 0);
      // Four copies at once, lanes beside each other not the same four.
      KVAULT_UNROLL
      for (u32 i = 0; i < kCopies; i += 4) {
        const u32 copy = (i + 4 * (cell / 2)) % kCopies;
        *reinterpret_cast<uint4*>(word_ + cell * kCopies + copy) = {word, word, word, word};
      }
    }
  }

  /// What a lane looks numbers up in: lanes with copies of their own do not meet in a bank.
  class Copy {
   public:
    KVAULT_DEVICE explicit Copy(const CodeTable& table)
        : first_(table.word_ + lane_index() % kCopies) {}

    /// The level, as a float whose lowest bits, as many as a code has, are the code: it is off by
    /// 1e-6 of itself at most. The code is nearest to the number but for a number within 4e-6 of
    /// the middle of two levels. number * factor: in half levels, times kUnit.
    KVAULT_DEVICE u32 find(float number, float factor) const {
      const float place = multiply_add_saturated(number, factor, 0.5F);
      // In [2, 4) the lowest bit counts 2^-22, here a cell; of the exponent's bits nothing stays in
      // 32 when they are multiplied.
      const u32 bits = float_as_bits(multiply_add_down(place, 0x1p-14F, 2.0F));
      return load_shared_word(first_, bits * kCellBytes);
    }

   private:
    const u32* first_;
  };

 private:
  static constexpr u32 kCells = 257;  ///< half levels -128, -127, .. 128
  static constexpr float kCentre = 128;
  static constexpr u32 kCopies = 16;
  static constexpr u32 kCellBytes = kCopies * sizeof(u32);

  alignas(16) u32 word_[kCells * kCopies];
};

}  // namespace kvault::cuda
