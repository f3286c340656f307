#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/cpu/aligned_array.hpp"
#include "core/cpu/attend_split.hpp"
#include "core/cpu/rotation_set.hpp"
#include "core/cpu/row_kernels.hpp"
#include "core/device/device.hpp"
#include "core/layout/block_layout.hpp"
#include "core/os/thread_pool.hpp"

namespace kvault::cpu {

/// How partial results of a call lie in memory: all as wide as the widest.
struct SlotShape {
  std::uint32_t n_row;
  std::size_t stride;

  /// States first, padded so that the sums stay aligned.
  constexpr std::size_t n_state_float() const { return align_up(std::size_t{n_row} * 2, 32); }
  constexpr std::size_t n_float() const { return n_state_float() + 2 * n_row * stride; }
  AttendPartial at(float* memory, std::size_t index) const {
    float* const slot = memory + index * n_float();
    float* const sums = slot + n_state_float();
    return {reinterpret_cast<SoftmaxState*>(slot), sums, sums + n_row * stride};
  }
};

/// The attend verb: cuts a call into items (rows of a kv head x split of the pages), lets the pool
/// work on as many at a time as there are slots for their partial results, and merges these in the
/// order of the splits. Which items run together never changes a bit.
class CpuAttend {
 public:
  CpuAttend(InstructionSet instructions, std::uint32_t n_thread);

  static std::uint64_t scratch_size_bytes(InstructionSet instructions, std::uint32_t n_thread);
  void run(const AttendArgs& args, BufferBytes buffers, const RotationSet& rotations,
           ThreadPool& pool);

 private:
  /// Successive items of the same rows.
  struct ItemRun {
    const AttendItem* first;
    std::size_t n_item;
  };

  std::uint32_t choose_n_kv_head(const AttendArgs& args, const AttendSequence& sequence,
                                 std::uint32_t n_row) const;
  void list_items(const AttendArgs& args, BufferBytes buffers);
  void list_splits(const AttendItem& whole);
  void run_wave(std::span<AttendItem> wave, const SlotShape& shape, const Rotation& key_rotation,
                ThreadPool& pool);
  void merge_wave(const AttendArgs& args, const Rotation& value_rotation,
                  std::span<const AttendItem> wave, const SlotShape& shape, ThreadPool& pool);
  AttendPartial merged_of(const AttendItem& first, const SlotShape& shape);
  void merge_run(const AttendArgs& args, const Rotation& value_rotation,
                 std::span<const AttendItem> run, const SlotShape& shape);

  AttendKernels kernels_;
  const RowKernels& row_kernels_;
  std::vector<AttendSplit> workers_;  ///< one per thread
  std::vector<AttendItem> items_;     ///< of the call; kept, so that a call allocates nothing
  std::vector<ItemRun> runs_;         ///< of the wave
  AlignedArray<float> slots_;
  AlignedArray<float> carry_;  ///< the merged splits of the rows that a wave left unfinished
};

}  // namespace kvault::cpu
