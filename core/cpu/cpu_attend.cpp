#include "core/cpu/cpu_attend.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/assert.hpp"

namespace kvault::cpu {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();
constexpr std::size_t kDimMax = KVAULT_HEAD_DIM_MAX;

std::span<const std::byte> bytes_of(const BlockRef& ref, std::uint32_t head_dim,
                                    BufferBytes buffers) {
  const std::uint64_t size_bytes = BlockLayout::of(ref.format, head_dim).size_bytes;
  return buffers[ref.buffer].subspan(ref.offset_bytes, size_bytes);
}

float dot(const float* a, const float* b, std::size_t n) {
  double sum = 0;
  for (std::size_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return static_cast<float>(sum);
}

}  // namespace

AttendTile::AttendTile()
    : reader_(kDimMax),
      key_(kDimMax),
      value_(kDimMax),
      q_raw_(kRowTile * kDimMax),
      q_rotated_(kRowTile * kDimMax),
      logits_(std::size_t{kRowTile} * kPageTokens),
      out_raw_(kRowTile * kDimMax),
      out_coded_(kRowTile * kDimMax),
      states_(kRowTile),
      visible_(kRowTile) {}

std::uint64_t AttendTile::scratch_size_bytes() {
  return sizeof(float) *
         (4 * kRowTile * kDimMax + std::size_t{kRowTile} * kPageTokens + 3 * kPageTokens * kDimMax);
}

void AttendTile::run(const Task& task) {
  KVAULT_ASSERT(task.n_row <= kRowTile);
  load_queries(task);
  const std::size_t n_kv_head = task.args.n_kv_head;
  const std::uint64_t n_page = task.sequence.pages.size() / n_kv_head;
  for (std::uint64_t page = 0; page < n_page; ++page) {
    if (sees_page((task.sequence.first_page + page) * kPageTokens)) attend_page(task, page);
  }
  store_outputs(task);
}

void AttendTile::load_queries(const Task& task) {
  const AttendArgs& args = task.args;
  const AttendSequence& sequence = task.sequence;
  const std::uint32_t group = args.n_head / args.n_kv_head;
  const std::uint32_t dim = args.key_head_dim;
  const std::uint32_t value_stride = padded_head_dim(args.value_head_dim);
  const auto n_token = static_cast<std::int64_t>(sequence.n_token);
  for (std::uint32_t row = 0; row < task.n_row; ++row) {
    const std::uint32_t query = (task.first_row + row) / group;
    const std::uint32_t head = task.kv_head * group + (task.first_row + row) % group;
    const float* const source = sequence.q.data() + (std::size_t{query} * args.n_head + head) * dim;
    float* const raw = q_raw_.data() + std::size_t{row} * dim;
    float* const rotated = q_rotated_.data() + std::size_t{row} * dim;
    std::copy_n(source, dim, raw);
    std::copy_n(source, dim, rotated);
    if (!sequence.equaliser.empty()) {
      const Half* const e = sequence.equaliser.data() + std::size_t{task.kv_head} * dim;
      for (std::uint32_t i = 0; i < dim; ++i) rotated[i] /= to_float(e[i]);
    }
    task.key_rotation.apply({rotated, dim});
    const std::int64_t position = sequence.first_q_position + query;
    Visible& visible = visible_.data()[row];
    visible.end = sequence.mask.causal ? std::min(n_token, position + 1) : n_token;
    visible.begin = sequence.mask.window > 0 ? position - sequence.mask.window + 1 : 0;
    states_.data()[row] = {kNone, 0.0F};
  }
  std::fill_n(out_raw_.data(), std::size_t{task.n_row} * value_stride, 0.0F);
  std::fill_n(out_coded_.data(), std::size_t{task.n_row} * value_stride, 0.0F);
  for (std::uint32_t row = task.n_row; row < kRowTile; ++row) visible_.data()[row] = {0, 0};
}

bool AttendTile::sees_page(std::uint64_t first_position) const {
  const auto begin = static_cast<std::int64_t>(first_position);
  const std::int64_t end = begin + kPageTokens;
  return std::any_of(visible_.data(), visible_.data() + kRowTile, [&](const Visible& visible) {
    return std::max(visible.begin, begin) < std::min(visible.end, end);
  });
}

void AttendTile::attend_page(const Task& task, std::uint64_t page) {
  const AttendArgs& args = task.args;
  const PageRef& ref = task.sequence.pages[page * args.n_kv_head + task.kv_head];
  const std::uint64_t first_position = (task.sequence.first_page + page) * kPageTokens;
  const std::uint64_t n_left = task.sequence.n_token - first_position;
  const auto n_valid = static_cast<std::uint32_t>(std::min<std::uint64_t>(kPageTokens, n_left));
  reader_.read_key(bytes_of(ref.key, args.key_head_dim, task.buffers), ref.key.format,
                   args.key_head_dim, n_valid, key_);
  reader_.read_value(bytes_of(ref.value, args.value_head_dim, task.buffers), ref.value.format,
                     args.value_head_dim, n_valid, value_);
  compute_logits(task, first_position);
  accumulate_values(task);
}

/// logits [row][128] = softmax_scale * q.k, soft-capped, -infinity where invisible.
void AttendTile::compute_logits(const Task& task, std::uint64_t first_position) {
  const AttendArgs& args = task.args;
  const std::size_t dim = args.key_head_dim;
  const float* const q = key_.is_rotated ? q_rotated_.data() : q_raw_.data();
  std::fill_n(logits_.data(), std::size_t{task.n_row} * kPageTokens, 0.0F);
  accumulate_product({.a = q,
                      .b = key_.values.data(),
                      .c = logits_.data(),
                      .n_row = task.n_row,
                      .n_inner = dim,
                      .n_column = kPageTokens,
                      .a_stride = dim,
                      .b_stride = kPageTokens,
                      .c_stride = kPageTokens});
  for (std::uint32_t row = 0; row < task.n_row; ++row) {
    float* const s = logits_.data() + std::size_t{row} * kPageTokens;
    const float* const factor = key_.factor.data();
    // The page's mean adds the same number to every logit of the row: one dot product per block.
    const float offset = key_.has_mean ? dot(q + row * dim, key_.mean.data(), dim) : 0.0F;
    for (std::uint32_t t = 0; t < kPageTokens; ++t) {
      s[t] = (s[t] * factor[t] + offset) * args.softmax_scale;
    }
    if (args.logit_softcap > 0) {
      for (std::uint32_t t = 0; t < kPageTokens; ++t) {
        s[t] = args.logit_softcap * std::tanh(s[t] / args.logit_softcap);
      }
    }
    mask_row(task, row, first_position);
  }
}

void AttendTile::mask_row(const Task& task, std::uint32_t row, std::uint64_t first_position) {
  float* const s = logits_.data() + std::size_t{row} * kPageTokens;
  const Visible& visible = visible_.data()[row];
  const auto page_begin = static_cast<std::int64_t>(first_position);
  const std::int64_t begin = std::clamp<std::int64_t>(visible.begin - page_begin, 0, kPageTokens);
  const std::int64_t end = std::clamp<std::int64_t>(visible.end - page_begin, 0, kPageTokens);
  std::fill(s, s + begin, kNone);
  std::fill(s + std::max(begin, end), s + kPageTokens, kNone);
  const AttendMask& mask = task.sequence.mask;
  if (mask.bits.empty()) return;
  const std::uint32_t query = (task.first_row + row) / (task.args.n_head / task.args.n_kv_head);
  const std::uint8_t* const bits = mask.bits.data() + query * mask.bits_stride + first_position;
  for (std::int64_t t = begin; t < end; ++t) {
    if (bits[t] == 0) s[t] = kNone;
  }
}

void AttendTile::accumulate_values(const Task& task) {
  const std::size_t stride = value_.stride_dim;
  float* const out = value_.is_rotated ? out_coded_.data() : out_raw_.data();
  for (std::uint32_t row = 0; row < task.n_row; ++row) {
    float* const p = logits_.data() + std::size_t{row} * kPageTokens;
    const float rescale = advance_softmax(p, kPageTokens, states_.data()[row]);
    if (rescale != 1.0F) {
      scale_row(out_raw_.data() + row * stride, stride, rescale);
      scale_row(out_coded_.data() + row * stride, stride, rescale);
    }
    if (value_.has_mean) {
      float mass = 0;
      for (std::uint32_t t = 0; t < kPageTokens; ++t) mass += p[t];
      for (std::size_t i = 0; i < stride; ++i)
        out[row * stride + i] += mass * value_.mean.data()[i];
    }
    if (value_.is_rotated) multiply_rows(p, value_.factor.data(), kPageTokens);
  }
  accumulate_product({.a = logits_.data(),
                      .b = value_.values.data(),
                      .c = out,
                      .n_row = task.n_row,
                      .n_inner = kPageTokens,
                      .n_column = stride,
                      .a_stride = kPageTokens,
                      .b_stride = stride,
                      .c_stride = stride});
}

void AttendTile::store_outputs(const Task& task) {
  const AttendArgs& args = task.args;
  const std::uint32_t group = args.n_head / args.n_kv_head;
  const std::uint32_t dim = args.value_head_dim;
  const std::size_t stride = padded_head_dim(dim);
  for (std::uint32_t row = 0; row < task.n_row; ++row) {
    const std::uint32_t query = (task.first_row + row) / group;
    const std::uint32_t head = task.kv_head * group + (task.first_row + row) % group;
    const std::size_t index = std::size_t{query} * args.n_head + head;
    const SoftmaxState& state = states_.data()[row];
    float* const coded = out_coded_.data() + row * stride;
    const float* const raw = out_raw_.data() + row * stride;
    float* const target = task.sequence.out.data() + index * dim;
    const bool sees_any = state.sum > 0;
    task.value_rotation.apply_inverse({coded, dim});
    for (std::uint32_t i = 0; i < dim; ++i) {
      target[i] = sees_any ? (raw[i] + coded[i]) / state.sum : 0.0F;
    }
    if (!task.sequence.lse.empty()) {
      task.sequence.lse[index] = sees_any ? state.maximum + std::log(state.sum) : kNone;
    }
  }
}

}  // namespace kvault::cpu
