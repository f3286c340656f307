#pragma once

#include <cstdint>

#include "core/codec/rotation.hpp"
#include "core/cpu/aligned_array.hpp"
#include "core/cpu/attend_kernels.hpp"
#include "core/cpu/row_kernels.hpp"
#include "core/device/device.hpp"

namespace kvault::cpu {

/// Query rows that share one pass over the pages. Bounds the scratch; never changes a bit, because
/// rows are computed independently.
inline constexpr std::uint32_t kRowTile = 64;

/// Rows [first_row, first_row + n_row) of each of some kv heads of a sequence. A row is a (query,
/// head of the group) pair.
struct RowRange {
  std::uint32_t first_kv_head;
  std::uint32_t n_kv_head;
  std::uint32_t first_row;
  std::uint32_t n_row;  ///< of one kv head

  std::uint32_t n_row_total() const { return n_kv_head * n_row; }
  friend bool operator==(const RowRange&, const RowRange&) = default;
};

/// Where row `row` of all rows of a range stands.
struct RowPlace {
  std::uint32_t query;
  std::uint32_t head;
};
inline RowPlace place_of(const RowRange& range, std::uint32_t group, std::uint32_t row) {
  const std::uint32_t kv_head = range.first_kv_head + row / range.n_row;
  const std::uint32_t row_of_head = range.first_row + row % range.n_row;
  return {row_of_head / group, kv_head * group + row_of_head % group};
}

/// The queries of a RowRange as the kernels want them: raw for raw pages, rotated for means, and as
/// integers for coded pages. Scratch of one thread.
class AttendQuery {
 public:
  AttendQuery(const AttendKernels& kernels, const RowKernels& row_kernels);

  /// pre: range.n_row_total() <= kRowTile; `rotation` of the key's head_dim
  void load(const AttendArgs& args, const AttendSequence& sequence, const RowRange& range,
            const Rotation& rotation);

  static constexpr std::size_t kStride = KVAULT_HEAD_DIM_MAX;
  /// Of a row on: [n_row][kStride].
  const float* raw(std::uint32_t row) const { return raw_.data() + row * kStride; }
  /// The same, zero past head_dim.
  const float* rotated(std::uint32_t row) const { return rotated_.data() + row * kStride; }

  /// Integer rows for keys of a scheme, of a row on; made when first asked for.
  struct Digits {
    const std::uint32_t* cells;  ///< [n_row][n_plane][plane_cells]
    const QueryRow* rows;        ///< [n_row]
  };
  Digits digits(Scheme scheme, std::uint32_t row) { return made(false, scheme, row); }
  /// What the digits leave of the rows, as digits of its own: together they are as good as floats.
  Digits residual_digits(Scheme scheme, std::uint32_t row) { return made(true, scheme, row); }

 private:
  /// tq and q8 have one each: their codes stand in different orders.
  struct DigitRows {
    AlignedArray<std::uint32_t> cells;
    AlignedArray<QueryRow> rows;
    bool is_made = false;
  };
  Digits made(bool is_residual, Scheme scheme, std::uint32_t row);
  void make_row(bool is_residual, bool is_q8, std::uint32_t row, DigitRows& digits) const;

  CellForm form_;
  AttendKernels kernels_;
  const RowKernels& row_kernels_;
  std::uint32_t n_row_ = 0;
  std::uint32_t padded_dim_ = 0;
  float softmax_scale_ = 0;
  AlignedArray<float> raw_;
  AlignedArray<float> rotated_;
  DigitRows digits_[2][2];  ///< [residual][q8]
};

}  // namespace kvault::cpu
