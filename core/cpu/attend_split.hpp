#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/cpu/aligned_array.hpp"
#include "core/cpu/attend_item.hpp"
#include "core/cpu/attend_kernels.hpp"
#include "core/cpu/attend_query.hpp"
#include "core/cpu/read_ahead.hpp"

namespace kvault::cpu {

/// What attending over some keys gives before it is normalised: sums relative to exp(maximum).
/// Raw and coded values accumulate apart, because the coded ones are rotated.
struct AttendPartial {
  SoftmaxState* states;  ///< [n_row]
  float* raw;            ///< [n_row][stride]
  float* coded;          ///< [n_row][stride]
};

/// Attends over splits, with the scratch of one thread. A page is taken head by head, first all
/// keys and then all values: the order in which a segment lies in memory.
class AttendSplit {
 public:
  AttendSplit(const AttendKernels& kernels, const RowKernels& row_kernels);

  static std::uint64_t scratch_size_bytes(CellForm form);

  /// Before the first split of a call: what is kept of the last one's queries is not this one's.
  void forget_queries() { prepared_sequence_ = nullptr; }
  /// Fills `partial`; key_rotation of the key's head_dim. pre: read_ahead stands at the item
  void run(const AttendItem& item, ReadAhead& read_ahead, const Rotation& key_rotation,
           const AttendPartial& partial);

 private:
  /// Positions a query row may see: [begin, end), mask bits apart.
  struct Visible {
    std::int64_t begin;
    std::int64_t end;
  };

  bool is_prepared_for(const AttendItem& item) const;
  void prepare(const AttendItem& item, const Rotation& key_rotation);
  void find_visible(const AttendItem& item);
  void start(const AttendItem& item, const AttendPartial& partial);
  void find_floors(const AttendItem& item);
  bool is_negligible(const PageHead& at, const SoftmaxState* states) const;
  bool is_whole(const PageHead& at) const;
  bool sees_page(const AttendItem& item, std::uint64_t page) const;
  void attend_page(const AttendItem& item, std::uint64_t page, ReadAhead& read_ahead,
                   const AttendPartial& partial);
  void compute_logits(const PageHead& at, const Ahead& ahead);
  void compute_coded_logits(const PageHead& at, const Ahead& ahead);
  void refine_logits(const PageHead& at, KeyLogits pass);
  void cap_logits(const PageHead& at);
  void mask_row(const PageHead& at, std::uint32_t row);
  void add_values(const PageHead& at, Ahead ahead, const AttendPartial& partial);
  void load_value_factors(const PageHead& at);
  void add_coded_values(const PageHead& at, const Ahead& ahead, float* out);
  void add_raw_values(const PageHead& at, const Ahead& ahead, float* out);

  AttendKernels kernels_;
  const AttendSequence* prepared_sequence_ = nullptr;  ///< only compared: it may be gone
  RowRange prepared_range_ = {};
  AttendQuery query_;
  AlignedArray<std::uint32_t> tile_;
  AlignedArray<std::uint32_t> weights_;  ///< [row][n_plane][weight_cells]
  AlignedArray<float> logits_;           ///< [row][128], then probabilities
  AlignedArray<float> refinement_;       ///< [row][128]
  AlignedArray<QueryRow> refined_rows_;  ///< [row]
  AlignedArray<float> token_factor_;     ///< [128]
  AlignedArray<float> mean_;             ///< [D']
  AlignedArray<float> row_terms_;        ///< [row]: mean offsets, then value factors
  AlignedArray<float> rescale_;          ///< [row]
  AlignedArray<float> mass_;             ///< [row]
  AlignedArray<SoftmaxState> floors_;    ///< [row]: of a few pages, with sparse values
  AlignedArray<Visible> visible_;        ///< [row]
  Visible visible_to_all_ = {};
};

}  // namespace kvault::cpu
