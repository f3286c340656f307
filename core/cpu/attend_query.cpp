#include "core/cpu/attend_query.hpp"

#include <algorithm>
#include <cmath>
#include <span>

#include "core/base/assert.hpp"
#include "core/layout/block_layout.hpp"

namespace kvault::cpu {
AttendQuery::AttendQuery(const AttendKernels& kernels, const RowKernels& row_kernels)
    : form_(kernels.form),
      kernels_(kernels),
      row_kernels_(row_kernels),
      raw_(kRowTile * kStride),
      rotated_(kRowTile * kStride) {
  for (DigitRows& digits : std::span(&digits_[0][0], 4)) {
    digits.cells = AlignedArray<std::uint32_t>((kRowTile + kRowGroupMax) * n_plane(form_) *
                                               plane_cells(form_));
    digits.rows = AlignedArray<QueryRow>(kRowTile);
  }
}

void AttendQuery::load(const AttendArgs& args, const AttendSequence& sequence,
                       const RowRange& range, const Rotation& rotation) {
  KVAULT_ASSERT(range.n_row_total() <= kRowTile);
  const std::uint32_t group = args.n_head / args.n_kv_head;
  const std::uint32_t dim = args.key_head_dim;
  n_row_ = range.n_row_total();
  padded_dim_ = padded_head_dim(dim);
  softmax_scale_ = args.softmax_scale;
  for (std::uint32_t row = 0; row < n_row_; ++row) {
    const RowPlace place = place_of(range, group, row);
    const float* const source =
        sequence.q.data() + (std::size_t{place.query} * args.n_head + place.head) * dim;
    float* const rotated = rotated_.data() + row * kStride;
    std::copy_n(source, dim, raw_.data() + row * kStride);
    std::copy_n(source, dim, rotated);
    if (!sequence.equaliser.empty()) {
      const Half* const e = sequence.equaliser.data() + std::size_t{place.head / group} * dim;
      for (std::uint32_t i = 0; i < dim; ++i) rotated[i] /= to_float(e[i]);
    }
    std::fill(rotated + dim, rotated + padded_dim_, 0.0F);
  }
  row_kernels_.rotate(rotation, rotated_.data(), n_row_, kStride);
  for (DigitRows& digits : std::span(&digits_[0][0], 4)) digits.is_made = false;
}

AttendQuery::Digits AttendQuery::made(bool is_residual, Scheme scheme, std::uint32_t row) {
  const bool is_q8 = scheme == Scheme::q8;
  DigitRows& digits = digits_[is_residual ? 1 : 0][is_q8 ? 1 : 0];
  if (!digits.is_made) {
    for (std::uint32_t i = 0; i < n_row_; ++i) make_row(is_residual, is_q8, i, digits);
    digits.is_made = true;
  }
  return {digits.cells.data() + row * n_plane(form_) * plane_cells(form_),
          digits.rows.data() + row};
}

void AttendQuery::make_row(bool is_residual, bool is_q8, std::uint32_t row,
                           DigitRows& digits) const {
  std::uint32_t* const cells = digits.cells.data() + row * n_plane(form_) * plane_cells(form_);
  DigitSums sums = kernels_.query_digits({rotated(row), padded_dim_, is_q8, cells});
  if (is_residual) {
    alignas(64) float rest[KVAULT_HEAD_DIM_MAX];
    for (std::uint32_t i = 0; i < padded_dim_; ++i) {
      // The digit itself: rounded from anything but this product, a near tie would differ.
      const float digit = std::nearbyint(rotated(row)[i] * sums.per_unit);
      rest[i] = rotated(row)[i] - sums.unit * digit;
    }
    sums = kernels_.query_digits({rest, padded_dim_, is_q8, cells});
  }
  // Levels stand around 63.5 (tq), codes of q8 around 128, to which the tile moves them.
  const std::int32_t centre = is_q8 ? 128 : 64;
  const std::int32_t whole =
      form_ == CellForm::bytes ? sums.plane[0] * 256 + sums.plane[1] : sums.plane[0];
  QueryRow& terms = digits.rows.data()[row];
  terms.factor = softmax_scale_ * sums.unit;
  terms.half = is_q8 ? 0.0F : 0.5F * static_cast<float>(whole);
  terms.start[0] = -centre * sums.plane[0];
  terms.start[1] = -centre * sums.plane[1];
}

}  // namespace kvault::cpu
