#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "core/device/device.hpp"
#include "core/layout/block_layout.hpp"
#include "core/oracle/oracle.hpp"
#include "tests/support/coded_block.hpp"
#include "tests/support/random.hpp"

namespace kvault::test {

inline constexpr double kAttendBound = 1e-3;

/// One sequence to attend over, with all that its call says. Owns its pages, which every device
/// gets byte by byte.
struct AttendCase {
  std::uint32_t n_head = 4;
  std::uint32_t n_kv_head = 2;
  std::uint32_t key_head_dim = 64;
  std::uint32_t value_head_dim = 64;
  std::uint32_t n_q = 3;
  std::uint64_t n_token = 300;
  std::uint64_t first_page = 0;
  std::int64_t first_q_position = 0;
  bool causal = false;
  std::uint32_t window = 0;
  float softmax_scale = 0.125F;
  float softcap = 0;
  double key_norm = 0;                  ///< at least that of every key, if logits are large
  std::vector<float> q = {};            ///< [n_q, n_head, key_head_dim]
  std::vector<std::uint8_t> mask = {};  ///< [n_q, n_token] or empty
  std::vector<Half> equaliser = {};     ///< [n_kv_head, key_head_dim] or empty
  std::vector<std::byte> bytes = {};
  std::vector<PageRef> refs = {};  ///< [n_page, n_kv_head]

  std::size_t n_row() const { return std::size_t{n_q} * n_head; }
  /// Pages from first_page to the last token's.
  std::uint64_t n_page() const {
    const std::uint64_t end = (n_token + kPageTokens - 1) / kPageTokens;
    return end - std::min(first_page, end);
  }
  std::span<std::byte> block(const BlockRef& ref, std::uint32_t head_dim) {
    return std::span(bytes).subspan(ref.offset_bytes,
                                    BlockLayout::of(ref.format, head_dim).size_bytes);
  }
  BlockRef add_block(std::span<const std::byte> block_bytes, BlockFormat format) {
    const BlockRef ref = {bytes.size(), 0, format};
    bytes.insert(bytes.end(), block_bytes.begin(), block_bytes.end());
    return ref;
  }
  /// As after a prefill: the last query stands at the last token.
  void set_last_positions() {
    first_q_position = static_cast<std::int64_t>(n_token) - static_cast<std::int64_t>(n_q);
  }
  /// Queries [first, first + n) over the same pages.
  AttendCase part(std::uint32_t first, std::uint32_t n) const {
    AttendCase some = *this;
    const std::size_t q_size = std::size_t{n_head} * key_head_dim;
    some.n_q = n;
    some.first_q_position += first;
    const auto q_begin = q.begin() + static_cast<std::ptrdiff_t>(first * q_size);
    some.q.assign(q_begin, q_begin + static_cast<std::ptrdiff_t>(n * q_size));
    if (mask.empty()) return some;
    const auto mask_begin = mask.begin() + static_cast<std::ptrdiff_t>(first * n_token);
    some.mask.assign(mask_begin, mask_begin + static_cast<std::ptrdiff_t>(n * n_token));
    return some;
  }
};

struct AttendAnswer {
  std::vector<float> out;
  std::vector<float> lse;

  bool same_bits(const AttendAnswer& other) const {
    return out.size() == other.out.size() && lse.size() == other.lse.size() &&
           std::memcmp(out.data(), other.out.data(), out.size() * 4) == 0 &&
           std::memcmp(lse.data(), other.lse.data(), lse.size() * 4) == 0;
  }
  /// The rows of `next` behind these.
  void append(const AttendAnswer& next) {
    out.insert(out.end(), next.out.begin(), next.out.end());
    lse.insert(lse.end(), next.lse.begin(), next.lse.end());
  }
};

/// Attends over several cases in one call, every case's pages in a buffer of its own. What the call
/// shares (heads, dimensions, scale, softcap) is that of the first.
inline std::vector<AttendAnswer> attend_together(Device& device, std::span<const AttendCase> cases,
                                                 const SparseValues& sparse = {}) {
  std::vector<std::unique_ptr<Buffer>> owned;
  std::vector<const Buffer*> buffers;
  std::vector<std::vector<PageRef>> refs;
  std::vector<AttendAnswer> answers;
  std::vector<AttendSequence> sequences;
  constexpr float kUnwritten = std::numeric_limits<float>::quiet_NaN();
  for (const AttendCase& c : cases) {
    auto buffer = device.allocate({.size_bytes = c.bytes.size(), .is_zeroed = false});
    REQUIRE(buffer);
    REQUIRE(device.upload(**buffer, 0, c.bytes));
    refs.push_back(c.refs);
    for (PageRef& ref : refs.back()) {
      ref.key.buffer = ref.value.buffer = static_cast<std::uint32_t>(buffers.size());
    }
    owned.push_back(std::move(*buffer));
    buffers.push_back(owned.back().get());
    answers.push_back({std::vector<float>(c.n_row() * c.value_head_dim, kUnwritten),
                       std::vector<float>(c.n_row(), kUnwritten)});
  }
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const AttendCase& c = cases[i];
    sequences.push_back({.n_q = c.n_q,
                         .q = c.q,
                         .pages = refs[i],
                         .first_page = c.first_page,
                         .n_token = c.n_token,
                         .first_q_position = c.first_q_position,
                         .mask = {c.causal, c.window, c.mask, c.n_token},
                         .equaliser = c.equaliser,
                         .out = answers[i].out,
                         .lse = answers[i].lse});
  }
  const auto ticket = device.attend({.n_head = cases[0].n_head,
                                     .n_kv_head = cases[0].n_kv_head,
                                     .key_head_dim = cases[0].key_head_dim,
                                     .value_head_dim = cases[0].value_head_dim,
                                     .softmax_scale = cases[0].softmax_scale,
                                     .logit_softcap = cases[0].softcap,
                                     .sparse_values = sparse,
                                     .buffers = buffers,
                                     .sequences = sequences});
  REQUIRE(ticket);
  REQUIRE(device.wait(*ticket));
  return answers;
}

inline AttendAnswer attend_on(Device& device, const AttendCase& c) {
  return attend_together(device, {&c, 1})[0];
}

inline oracle::AttendOutput attend_by_oracle(const AttendCase& c) {
  std::vector<oracle::BlockBytes> keys;
  std::vector<oracle::BlockBytes> values;
  const auto bytes_of = [&](const BlockRef& ref, std::uint32_t head_dim) {
    return oracle::BlockBytes{
        std::span(c.bytes).subspan(ref.offset_bytes,
                                   BlockLayout::of(ref.format, head_dim).size_bytes),
        ref.format.byte()};
  };
  for (const PageRef& ref : c.refs) {
    keys.push_back(bytes_of(ref.key, c.key_head_dim));
    values.push_back(bytes_of(ref.value, c.value_head_dim));
  }
  const std::vector<double> equaliser = widened(std::span<const Half>(c.equaliser));
  auto truth = oracle::attend({.n_head = c.n_head,
                               .n_kv_head = c.n_kv_head,
                               .key_head_dim = c.key_head_dim,
                               .value_head_dim = c.value_head_dim,
                               .softmax_scale = static_cast<double>(c.softmax_scale),
                               .logit_softcap = static_cast<double>(c.softcap),
                               .n_q = c.n_q,
                               .q = c.q,
                               .key_blocks = keys,
                               .value_blocks = values,
                               .first_page = c.first_page,
                               .n_token = c.n_token,
                               .first_q_position = c.first_q_position,
                               .causal = c.causal,
                               .window = c.window,
                               .mask_bits = c.mask,
                               .mask_stride = c.n_token,
                               .equaliser = equaliser},
                              oracle::Tables::standard());
  REQUIRE(truth);
  return *truth;
}

/// What an answer is measured against: the oracle's, with what is granted beside the bounds as its
/// eta. That is what logits cost as floats and, where eta is more than 1e-3, all of it to devices
/// of integer queries; the cpu, which refines them, makes do with 1e-3. Sums below 1e-30 need not
/// be told from zero.
inline oracle::AttendOutput granting(const Device& device, const AttendCase& c,
                                     const oracle::AttendOutput& truth) {
  oracle::AttendOutput granted = truth;
  const std::size_t dim = c.key_head_dim;
  for (std::size_t row = 0; row < c.n_row(); ++row) {
    double square = 0;
    for (const float entry : std::span(c.q).subspan(row * dim, dim)) {
      square += static_cast<double>(entry) * static_cast<double>(entry);
    }
    const double logit = static_cast<double>(c.softmax_scale) * std::sqrt(square) * c.key_norm;
    double& eta = granted.eta[row];
    if (device.name() == "cpu") eta = std::min(eta, kAttendBound);
    eta += logit * 0x1.0p-22;
    double& error_scale = granted.error_scale[row];
    if (error_scale > 0) error_scale = std::max(error_scale, 1e-30);
  }
  return granted;
}

/// `answer` is what the oracle answered within the bounds.
inline void check_answer(const Device& device, const AttendCase& c,
                         const oracle::AttendOutput& truth, const AttendAnswer& answer) {
  CAPTURE(device.caps().instruction_set);
  CAPTURE(c.n_head);
  CAPTURE(c.n_kv_head);
  CAPTURE(c.key_head_dim);
  CAPTURE(c.value_head_dim);
  CAPTURE(c.n_q);
  CAPTURE(c.n_token);
  CAPTURE(c.first_page);
  CAPTURE(c.refs.empty() ? 0 : c.refs[0].key.format.byte());
  CAPTURE(c.refs.empty() ? 0 : c.refs[0].value.format.byte());
  const oracle::AttendOutput granted = granting(device, c, truth);
  CHECK(oracle::worst_error(granted, answer.out, c.value_head_dim, oracle::Eta::granted) <=
        kAttendBound);
  CHECK(oracle::worst_lse_error(granted, answer.lse, oracle::Eta::granted) <= kAttendBound);
}

/// Whether a device takes the index-th of many like cases: emulated vectors are slow, so that the
/// scalar set takes every fourth, unless there is nothing else.
inline bool takes(const Device& device, std::size_t n_device, std::size_t index) {
  return device.caps().instruction_set != "scalar" || n_device == 1 || index % 4 == 0;
}

}  // namespace kvault::test
