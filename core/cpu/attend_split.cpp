#include "core/cpu/attend_split.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/assert.hpp"
#include "core/codec/codebook.hpp"
#include "core/layout/block_layout.hpp"

namespace kvault::cpu {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();
constexpr std::size_t kDimMax = KVAULT_HEAD_DIM_MAX;
/// What the softmax asks for of what is asked for beside a block of values, 1 / kEarlyShare:
/// measured, 15 to 25 % is best.
constexpr std::size_t kEarlyShare = 4;
constexpr std::size_t kTileCells = kPageTokens * plane_cells(CellForm::bytes);

/// The norm of a token's codes around their centre. tq: of a unit direction, by construction. q8:
/// below that of a Gaussian row whose greatest entry is 127.
float code_norm(Scheme scheme, std::uint32_t head_dim) {
  if (scheme == Scheme::q8) return 64.0F * std::sqrt(static_cast<float>(head_dim));
  return 1.0F / Codebook::step(scheme, head_dim);
}

bool is_sparse(const AttendItem& item) {
  const SparseValues& sparse = item.args.sparse_values;
  return sparse.threshold > 0 && item.sequence.n_token >= sparse.n_token_min;
}

const Half* halves_at(std::span<const std::byte> block, std::uint64_t offset_bytes) {
  return reinterpret_cast<const Half*>(block.data() + offset_bytes);
}

}  // namespace

AttendSplit::AttendSplit(const AttendKernels& kernels, const RowKernels& row_kernels)
    : kernels_(kernels),
      query_(kernels, row_kernels),
      tile_(kTileCells),
      weights_((kRowTile + kRowGroupMax) * n_plane(kernels.form) * weight_cells(kernels.form)),
      logits_(std::size_t{kRowTile} * kPageTokens),
      refinement_(std::size_t{kRowTile} * kPageTokens),
      refined_rows_(kRowTile),
      token_factor_(kPageTokens),
      mean_(kDimMax),
      row_terms_(kRowTile),
      rescale_(kRowTile),
      mass_(kRowTile),
      floors_(kRowTile),
      visible_(kRowTile) {}

std::uint64_t AttendSplit::scratch_size_bytes(CellForm form) {
  const std::uint64_t cells_of_row = n_plane(form) * (2 * plane_cells(form) + weight_cells(form));
  const std::uint64_t floats_of_row = 2 * kDimMax + kPageTokens;
  return sizeof(float) *
         ((kRowTile + kRowGroupMax) * cells_of_row + kRowTile * floats_of_row + kTileCells);
}

void AttendSplit::run(const AttendItem& item, ReadAhead& read_ahead, const Rotation& key_rotation,
                      const AttendPartial& partial) {
  ThreadSetting before;
  kernels_.enter(item.range.n_row, before);
  if (!is_prepared_for(item)) prepare(item, key_rotation);
  start(item, partial);
  for (std::uint64_t page = item.page_begin; page < item.page_end; ++page) {
    if (sees_page(item, page)) {
      attend_page(item, page, read_ahead, partial);
    } else {
      read_ahead.skip_page();
    }
  }
  kernels_.leave(before);
}

bool AttendSplit::is_prepared_for(const AttendItem& item) const {
  return prepared_sequence_ == &item.sequence && prepared_range_ == item.range;
}

/// What all splits of the same rows share.
void AttendSplit::prepare(const AttendItem& item, const Rotation& key_rotation) {
  prepared_sequence_ = &item.sequence;
  prepared_range_ = item.range;
  query_.load(item.args, item.sequence, item.range, key_rotation);
  find_visible(item);
  if (is_sparse(item)) find_floors(item);
}

void AttendSplit::find_visible(const AttendItem& item) {
  const AttendSequence& sequence = item.sequence;
  const std::uint32_t group = item.args.n_head / item.args.n_kv_head;
  const auto n_token = static_cast<std::int64_t>(sequence.n_token);
  const std::uint32_t n_row = item.range.n_row_total();
  visible_to_all_ = {0, n_token};
  for (std::uint32_t row = 0; row < n_row; ++row) {
    const std::int64_t position =
        sequence.first_q_position + place_of(item.range, group, row).query;
    Visible& visible = visible_.data()[row];
    visible.end = sequence.mask.causal ? std::min(n_token, position + 1) : n_token;
    visible.begin = sequence.mask.window > 0 ? position - sequence.mask.window + 1 : 0;
    visible_to_all_.begin = std::max(visible_to_all_.begin, visible.begin);
    visible_to_all_.end = std::min(visible_to_all_.end, visible.end);
  }
}

void AttendSplit::start(const AttendItem& item, const AttendPartial& partial) {
  const std::size_t stride = padded_head_dim(item.args.value_head_dim);
  const std::uint32_t n_row = item.range.n_row_total();
  std::fill_n(partial.states, n_row, SoftmaxState{kNone, 0.0F});
  std::fill_n(partial.raw, n_row * stride, 0.0F);
  std::fill_n(partial.coded, n_row * stride, 0.0F);
}

/// A lower bound of every row's final sum, from keys alone: of the first page and the newest two,
/// where a chat's attention gathers. It is the same in all splits.
void AttendSplit::find_floors(const AttendItem& item) {
  std::fill_n(floors_.data(), item.range.n_row_total(), SoftmaxState{kNone, 0.0F});
  const std::uint64_t n_page = item.sequence.pages.size() / item.args.n_kv_head;
  const std::uint64_t newest = n_page > 2 ? n_page - 2 : 1;
  for (std::uint64_t page = 0; page < n_page; page = std::max(page + 1, newest)) {
    if (!sees_page(item, page)) continue;
    for (std::uint32_t head = 0; head < item.range.n_kv_head; ++head) {
      const PageHead at = {item, page, head};
      compute_logits(at, {});
      kernels_.page_softmax({.logits = logits_.data() + at.first_row() * kPageTokens,
                             .states = floors_.data() + at.first_row(),
                             .rescale = rescale_.data(),
                             .mass = mass_.data(),
                             .n_row = at.n_row(),
                             .token_factor = nullptr,
                             .weights = nullptr,
                             .factor = nullptr,
                             .ahead = {}});
    }
  }
}

/// Whether no row of this head has, on this page, more than its share of what may be lost. The
/// page's mass is known; what it is a part of is at least this split's sum and at least the floor.
bool AttendSplit::is_negligible(const PageHead& at, const SoftmaxState* states) const {
  const float share = at.args().sparse_values.threshold * static_cast<float>(kPageTokens) /
                      static_cast<float>(at.item.sequence.n_token);
  for (std::uint32_t row = 0; row < at.n_row(); ++row) {
    const float mass = mass_.data()[row];
    if (mass <= share * states[row].sum) continue;
    const SoftmaxState& floor = floors_.data()[at.first_row() + row];
    // The same mass relative to the floor's maximum; overflow is infinity, and that is kept.
    if (!(mass * std::exp(states[row].maximum - floor.maximum) <= share * floor.sum)) return false;
  }
  return true;
}

/// Whether all rows see all of the page.
bool AttendSplit::is_whole(const PageHead& at) const {
  const auto begin = static_cast<std::int64_t>(at.first_position());
  return at.item.sequence.mask.bits.empty() && visible_to_all_.begin <= begin &&
         begin + kPageTokens <= visible_to_all_.end;
}

bool AttendSplit::sees_page(const AttendItem& item, std::uint64_t page) const {
  const auto begin = static_cast<std::int64_t>(item.first_position_of(page));
  const std::int64_t end = begin + kPageTokens;
  const Visible* const rows = visible_.data();  // alike in all heads
  return std::any_of(rows, rows + item.range.n_row, [&](const Visible& visible) {
    return std::max(visible.begin, begin) < std::min(visible.end, end);
  });
}

void AttendSplit::attend_page(const AttendItem& item, std::uint64_t page, ReadAhead& read_ahead,
                              const AttendPartial& partial) {
  for (std::uint32_t head = 0; head < item.range.n_kv_head; ++head) {
    compute_logits({item, page, head}, read_ahead.beside_next());
  }
  for (std::uint32_t head = 0; head < item.range.n_kv_head; ++head) {
    add_values({item, page, head}, read_ahead.beside_next(), partial);
  }
}

/// logits [row][128] = softmax_scale * q.k, soft-capped, -infinity where invisible.
void AttendSplit::compute_logits(const PageHead& at, const Ahead& ahead) {
  const BlockRef& key = at.refs().key;
  if (key.format.is_raw()) {
    kernels_.raw_key_logits(
        {.keys = {key.format.row_type(), at.key().data(), at.args().key_head_dim, at.n_valid()},
         .q = query_.raw(at.first_row()),
         .stride = AttendQuery::kStride,
         .factor = at.args().softmax_scale,
         .logits = logits_.data() + at.first_row() * kPageTokens,
         .n_row = at.n_row(),
         .ahead = ahead});
  } else {
    compute_coded_logits(at, ahead);
  }
  if (at.args().logit_softcap > 0) cap_logits(at);
  if (is_whole(at)) return;
  for (std::uint32_t row = 0; row < at.n_row(); ++row) mask_row(at, at.first_row() + row);
}

void AttendSplit::compute_coded_logits(const PageHead& at, const Ahead& ahead) {
  const AttendArgs& args = at.args();
  const BlockFormat format = at.refs().key.format;
  const BlockLayout layout = BlockLayout::of(format, args.key_head_dim);
  const std::uint32_t dim = padded_head_dim(args.key_head_dim);
  const std::span<const std::byte> block = at.key();
  kernels_.widen_halves({halves_at(block, layout.scale_offset_bytes), token_factor_.data(),
                         kPageTokens, Codebook::step(format.scheme(), args.key_head_dim)});
  // A scale past the valid length may be anything, and NaN would survive the mask's arithmetic.
  std::fill(token_factor_.data() + at.n_valid(), token_factor_.data() + kPageTokens, 0.0F);
  std::fill_n(row_terms_.data(), at.n_row(), 0.0F);
  if (format.is_centred()) {
    // The page's mean adds the same number to every logit of the row: one dot product per block.
    kernels_.widen_halves({halves_at(block, layout.mean_offset_bytes), mean_.data(), dim, 1.0F});
    kernels_.row_dots({query_.rotated(at.first_row()), AttendQuery::kStride, mean_.data(), dim,
                       args.softmax_scale, row_terms_.data(), at.n_row()});
  }
  const AttendQuery::Digits digits = query_.digits(format.scheme(), at.first_row());
  const KeyLogits pass = {.codes = {format.scheme(), dim, block.data()},
                          .query = digits.cells,
                          .rows = digits.rows,
                          .token_factor = token_factor_.data(),
                          .offset = row_terms_.data(),
                          .logits = logits_.data() + at.first_row() * kPageTokens,
                          .n_row = at.n_row(),
                          .n_step = dim / (kernels_.form == CellForm::bytes ? 4 : 2),
                          .tile = tile_.data(),
                          .ahead = ahead};
  kernels_.key_logits(pass);
  refine_logits(at, pass);
}

/// Adds what the digits left of the queries, for the rows where that could be felt: huge keys, or
/// a rotated query of one dominating coordinate. A row's need depends on nothing but itself.
void AttendSplit::refine_logits(const PageHead& at, KeyLogits pass) {
  // A digit is off by 0.29 on average of squares; so is a logit, times the norm of the key's codes.
  constexpr float kErrorMax = 2e-4F;
  const float norm = 0.29F * code_norm(pass.codes.scheme, at.args().key_head_dim);
  const float peak = norm * kernels_.greatest(token_factor_.data(), kPageTokens);
  const auto needs = [&](const QueryRow& row) { return std::abs(row.factor) * peak > kErrorMax; };
  if (std::none_of(pass.rows, pass.rows + pass.n_row, needs)) return;
  const AttendQuery::Digits rest = query_.residual_digits(pass.codes.scheme, at.first_row());
  for (std::size_t row = 0; row < pass.n_row; ++row) {
    refined_rows_.data()[row] = rest.rows[row];
    if (!needs(pass.rows[row])) refined_rows_.data()[row].factor = 0;
  }
  std::fill_n(row_terms_.data(), pass.n_row, 0.0F);
  float* const logits = pass.logits;
  pass.query = rest.cells;
  pass.rows = refined_rows_.data();
  pass.logits = refinement_.data();
  kernels_.key_logits(pass);
  kernels_.add_scaled(logits, pass.logits, pass.n_row * kPageTokens, 1.0F);
}

void AttendSplit::cap_logits(const PageHead& at) {
  const float cap = at.args().logit_softcap;
  float* const s = logits_.data() + at.first_row() * kPageTokens;
  for (std::size_t i = 0; i < std::size_t{at.n_row()} * kPageTokens; ++i) {
    s[i] = cap * std::tanh(s[i] / cap);
  }
}

void AttendSplit::mask_row(const PageHead& at, std::uint32_t row) {
  float* const s = logits_.data() + std::size_t{row} * kPageTokens;
  const Visible& visible = visible_.data()[row];
  const auto page_begin = static_cast<std::int64_t>(at.first_position());
  const std::int64_t begin = std::clamp<std::int64_t>(visible.begin - page_begin, 0, kPageTokens);
  const std::int64_t end = std::clamp<std::int64_t>(visible.end - page_begin, 0, kPageTokens);
  std::fill(s, s + begin, kNone);
  std::fill(s + std::max(begin, end), s + kPageTokens, kNone);
  const AttendMask& mask = at.item.sequence.mask;
  if (mask.bits.empty()) return;
  const std::uint32_t group = at.args().n_head / at.args().n_kv_head;
  const std::uint32_t query = place_of(at.item.range, group, row).query;
  const std::uint8_t* const bits = mask.bits.data() + query * mask.bits_stride + page_begin;
  for (std::int64_t t = begin; t < end; ++t) {
    if (bits[t] == 0) s[t] = kNone;
  }
}

void AttendSplit::add_values(const PageHead& at, Ahead ahead, const AttendPartial& partial) {
  const std::size_t stride = padded_head_dim(at.args().value_head_dim);
  float* const raw = partial.raw + at.first_row() * stride;
  float* const coded = partial.coded + at.first_row() * stride;
  const bool is_raw = at.refs().value.format.is_raw();
  if (!is_raw) load_value_factors(at);
  const Ahead early = is_raw ? Ahead() : ahead.take(kEarlyShare);
  kernels_.page_softmax({.logits = logits_.data() + at.first_row() * kPageTokens,
                         .states = partial.states + at.first_row(),
                         .rescale = rescale_.data(),
                         .mass = mass_.data(),
                         .n_row = at.n_row(),
                         .token_factor = is_raw ? nullptr : token_factor_.data(),
                         .weights = weights_.data(),
                         .factor = row_terms_.data(),
                         .ahead = early});
  for (std::uint32_t row = 0; row < at.n_row(); ++row) {
    const float rescale = rescale_.data()[row];
    if (rescale == 1.0F) continue;
    kernels_.scale(raw + row * stride, stride, rescale);
    kernels_.scale(coded + row * stride, stride, rescale);
  }
  if (is_sparse(at.item) && is_negligible(at, partial.states + at.first_row())) return;
  if (is_raw) {
    add_raw_values(at, ahead, raw);
  } else {
    add_coded_values(at, ahead, coded);
  }
}

void AttendSplit::load_value_factors(const PageHead& at) {
  const std::uint32_t dim = at.args().value_head_dim;
  const BlockFormat format = at.refs().value.format;
  // Levels of tq stand twice their distance from the centre.
  const float step = Codebook::step(format.scheme(), dim);
  kernels_.widen_halves({halves_at(at.value(), BlockLayout::of(format, dim).scale_offset_bytes),
                         token_factor_.data(), kPageTokens,
                         format.scheme() == Scheme::q8 ? step : 0.5F * step});
  std::fill(token_factor_.data() + at.n_valid(), token_factor_.data() + kPageTokens, 0.0F);
}

void AttendSplit::add_raw_values(const PageHead& at, const Ahead& ahead, float* out) {
  const std::uint32_t dim = at.args().value_head_dim;
  kernels_.raw_value_sums(
      {.values = {at.refs().value.format.row_type(), at.value().data(), dim, at.n_valid()},
       .probabilities = logits_.data() + at.first_row() * kPageTokens,
       .out = out,
       .stride = padded_head_dim(dim),
       .n_row = at.n_row(),
       .ahead = ahead});
}

void AttendSplit::add_coded_values(const PageHead& at, const Ahead& ahead, float* out) {
  const AttendArgs& args = at.args();
  const BlockFormat format = at.refs().value.format;
  const std::uint32_t dim = padded_head_dim(args.value_head_dim);
  const std::span<const std::byte> block = at.value();
  if (format.is_centred()) {
    const std::uint64_t offset = BlockLayout::of(format, args.value_head_dim).mean_offset_bytes;
    kernels_.widen_halves({halves_at(block, offset), mean_.data(), dim, 1.0F});
  }
  kernels_.value_sums({.codes = {format.scheme(), dim, block.data()},
                       .weights = weights_.data(),
                       .factor = row_terms_.data(),
                       .mass = mass_.data(),
                       .mean = format.is_centred() ? mean_.data() : nullptr,
                       .out = out,
                       .stride = dim,
                       .n_row = at.n_row(),
                       .tile = tile_.data(),
                       .ahead = ahead});
}

}  // namespace kvault::cpu
