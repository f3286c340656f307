#pragma once

#include <cstdint>
#include <span>

#include "core/codec/rotation.hpp"
#include "core/cpu/aligned_array.hpp"
#include "core/cpu/block_reader.hpp"
#include "core/cpu/tile_math.hpp"
#include "core/device/device.hpp"

namespace kvault::cpu {

/// Query rows that share one pass over the pages. Bounds the scratch; never changes a bit, because
/// rows are computed independently, page after page.
inline constexpr std::uint32_t kRowTile = 128;

/// Bytes of a call's buffers, by index.
using BufferBytes = std::span<const std::span<const std::byte>>;

/// Attends for up to kRowTile query rows of one kv head, with its own scratch: one per thread. A
/// row is a (query, head of the group) pair.
class AttendTile {
 public:
  AttendTile();

  static std::uint64_t scratch_size_bytes();

  /// pre: n_row <= kRowTile; `rotation` of the key's and of the value's head_dim
  struct Task {
    const AttendArgs& args;
    const AttendSequence& sequence;
    BufferBytes buffers;
    const Rotation& key_rotation;
    const Rotation& value_rotation;
    std::uint32_t kv_head;
    std::uint32_t first_row;
    std::uint32_t n_row;
  };
  void run(const Task& task);

 private:
  /// Positions a query row may see: [begin, end), mask bits apart.
  struct Visible {
    std::int64_t begin;
    std::int64_t end;
  };

  void load_queries(const Task& task);
  void attend_page(const Task& task, std::uint64_t page);
  void compute_logits(const Task& task, std::uint64_t first_position);
  void mask_row(const Task& task, std::uint32_t row, std::uint64_t first_position);
  void accumulate_values(const Task& task);
  void store_outputs(const Task& task);
  bool sees_page(std::uint64_t first_position) const;

  BlockReader reader_;
  BlockTile key_;
  BlockTile value_;
  AlignedArray<float> q_raw_;      ///< [row][key head_dim]
  AlignedArray<float> q_rotated_;  ///< [row][key head_dim]: H S (q / e)
  AlignedArray<float> logits_;     ///< [row][128], then probabilities
  AlignedArray<float> out_raw_;    ///< [row][value stride]: from raw pages
  AlignedArray<float> out_coded_;  ///< [row][value stride]: from coded pages, rotated domain
  AlignedArray<SoftmaxState> states_;
  AlignedArray<Visible> visible_;
};

}  // namespace kvault::cpu
