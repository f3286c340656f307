#include "core/cpu/attend_query.hpp"

#include <algorithm>
#include <array>
#include <span>

#include "core/base/assert.hpp"
#include "core/layout/block_layout.hpp"

namespace kvault::cpu {
namespace {

/// The greatest digit row: both its bytes stay within int8, and a sum over the widest head in 32
/// bits.
constexpr float kDigitMax = 127 * 256 + 127;

/// Where the eight codes of a group meet the tile, in digits from where the group's cells start:
/// four digits of a plane make a cell of bytes, two one of words; unpack-inl.hpp.
using DigitPlaces = std::array<std::uint8_t, 8>;
constexpr DigitPlaces kBytesTq = {0, 4, 1, 5, 2, 6, 3, 7};
constexpr DigitPlaces kBytesQ8 = {0, 1, 2, 3, 4, 5, 6, 7};
constexpr DigitPlaces kWordsTq = {0, 4, 2, 6, 1, 5, 3, 7};
constexpr DigitPlaces kWordsQ8 = {0, 2, 1, 3, 4, 6, 5, 7};

struct DigitSums {
  std::int32_t plane[2] = {0, 0};
};

/// A digit in [-kDigitMax, kDigitMax] as 256 * high + low, both int8.
template <const DigitPlaces& kPlaces>
DigitSums place_bytes(const std::int32_t* digits, std::size_t n, std::int8_t* high,
                      std::int8_t* low) {
  DigitSums sums;
  for (std::size_t group = 0; group < n; group += 8) {
    for (std::size_t i = 0; i < 8; ++i) {
      const std::int32_t digit = digits[group + i];
      const auto low_digit = static_cast<std::int8_t>(digit);  // the lowest byte
      const std::int32_t high_digit = (digit - low_digit) >> 8;
      low[group + kPlaces[i]] = low_digit;
      high[group + kPlaces[i]] = static_cast<std::int8_t>(high_digit);
      sums.plane[0] += high_digit;
      sums.plane[1] += low_digit;
    }
  }
  return sums;
}

template <const DigitPlaces& kPlaces>
DigitSums place_words(const std::int32_t* digits, std::size_t n, std::int16_t* words) {
  DigitSums sums;
  for (std::size_t group = 0; group < n; group += 8) {
    for (std::size_t i = 0; i < 8; ++i) {
      words[group + kPlaces[i]] = static_cast<std::int16_t>(digits[group + i]);
      sums.plane[0] += digits[group + i];
    }
  }
  return sums;
}

}  // namespace

AttendQuery::AttendQuery(const AttendKernels& kernels, const RowKernels& row_kernels)
    : form_(kernels.form),
      kernels_(kernels),
      row_kernels_(row_kernels),
      raw_(kRowTile * kStride),
      rotated_(kRowTile * kStride) {
  for (DigitRows& digits : std::span(&digits_[0][0], 4)) {
    digits.cells = AlignedArray<std::uint32_t>(kRowTile * n_plane(form_) * plane_cells(form_));
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

/// Digits of a row, or of what they leave of it; returns what one counts.
float AttendQuery::round_row(bool is_residual, std::uint32_t row, std::int32_t* digits) const {
  const float unit = kernels_.row_digits({rotated(row), digits, padded_dim_, kDigitMax});
  if (!is_residual) return unit;
  alignas(64) float rest[KVAULT_HEAD_DIM_MAX];
  for (std::uint32_t i = 0; i < padded_dim_; ++i) {
    rest[i] = rotated(row)[i] - unit * static_cast<float>(digits[i]);
  }
  return kernels_.row_digits({rest, digits, padded_dim_, kDigitMax});
}

void AttendQuery::make_row(bool is_residual, bool is_q8, std::uint32_t row,
                           DigitRows& digits) const {
  alignas(64) std::int32_t row_digits[KVAULT_HEAD_DIM_MAX];
  const float unit = round_row(is_residual, row, row_digits);
  std::uint32_t* const planes = digits.cells.data() + row * n_plane(form_) * plane_cells(form_);
  DigitSums sums;
  std::int32_t whole = 0;
  if (form_ == CellForm::bytes) {
    auto* const high = reinterpret_cast<std::int8_t*>(planes);
    auto* const low = reinterpret_cast<std::int8_t*>(planes + plane_cells(form_));
    sums = is_q8 ? place_bytes<kBytesQ8>(row_digits, padded_dim_, high, low)
                 : place_bytes<kBytesTq>(row_digits, padded_dim_, high, low);
    whole = sums.plane[0] * 256 + sums.plane[1];
  } else {
    auto* const words = reinterpret_cast<std::int16_t*>(planes);
    sums = is_q8 ? place_words<kWordsQ8>(row_digits, padded_dim_, words)
                 : place_words<kWordsTq>(row_digits, padded_dim_, words);
    whole = sums.plane[0];
  }
  // Levels stand around 63.5 (tq), codes of q8 around 128, to which the tile moves them.
  const std::int32_t centre = is_q8 ? 128 : 64;
  QueryRow& terms = digits.rows.data()[row];
  terms.factor = softmax_scale_ * unit;
  terms.half = is_q8 ? 0.0F : 0.5F * static_cast<float>(whole);
  terms.start[0] = -centre * sums.plane[0];
  terms.start[1] = -centre * sums.plane[1];
}

}  // namespace kvault::cpu
