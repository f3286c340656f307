#include "core/codec/block_encoder.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/base/assert.hpp"
#include "core/codec/pack.hpp"
#include "core/layout/block_layout.hpp"

namespace kvault {
namespace {

/// Rounds a scale to f16. Too small becomes +0; returns false where it is too large.
bool round_scale(double scale, Half& rounded) {
  const Half half = to_half(static_cast<float>(scale));
  const float value = to_float(half);
  if (!(value <= kHalfMax)) return false;
  rounded = value < kHalfMinNormal ? Half{} : half;
  return true;
}

double squared_norm(std::span<const float> x) {
  double sum = 0;
  for (const float value : x) sum += static_cast<double>(value) * value;
  return sum;
}

}  // namespace

BlockEncoder::BlockEncoder(const Rotation& rotation)
    : rotation_(rotation),
      head_dim_(rotation.head_dim()),
      padded_dim_(padded_head_dim(head_dim_)),
      residual_(std::size_t{kPageTokens} * head_dim_),
      centred_(residual_.size()),
      sums_(head_dim_),
      quad_(std::size_t{padded_dim_} * KVAULT_QUAD_N_TOKEN),
      mean_(padded_dim_),
      scale_(kPageTokens),
      codes_(std::size_t{kPageTokens} * padded_dim_) {}

bool BlockEncoder::encode(const BlockEncoding& encoding, std::span<const float> rows,
                          std::span<const Half> equaliser, std::span<std::byte> target) {
  KVAULT_ASSERT(!encoding.format.is_raw() && rows.size() == residual_.size());
  KVAULT_ASSERT(equaliser.empty() || equaliser.size() == head_dim_);
  KVAULT_ASSERT(target.size() == BlockLayout::of(encoding.format, head_dim_).size_bytes);
  rotate(rows, equaliser);
  std::fill(mean_.begin(), mean_.end(), Half{});
  if (encoding.format.is_centred() && !subtract_mean()) return false;
  std::fill(codes_.begin(), codes_.end(), std::uint8_t{0});
  const bool is_q8 = encoding.format.scheme() == Scheme::q8;
  const NearestCode nearest(is_q8 ? Scheme::tq4 : encoding.format.scheme());
  for (std::uint32_t token = 0; token < kPageTokens; ++token) {
    if (!quantise_token(encoding, nearest, token)) return false;
  }
  write(encoding, target);
  return true;
}

void BlockEncoder::rotate(std::span<const float> rows, std::span<const Half> equaliser) {
  std::copy(rows.begin(), rows.end(), residual_.begin());
  for (std::uint32_t token = 0; token < kPageTokens; ++token) {
    const std::span<float> row(residual_.data() + std::size_t{token} * head_dim_, head_dim_);
    if (!equaliser.empty()) {
      for (std::uint32_t i = 0; i < head_dim_; ++i) row[i] *= to_float(equaliser[i]);
    }
    rotation_.apply(row);
  }
}

/// Subtracts the rounded mean where that lowers sum |r|^2 / |y|^2; false where it exceeds binary16.
bool BlockEncoder::subtract_mean() {
  std::fill(sums_.begin(), sums_.end(), 0.0);
  for (std::uint32_t token = 0; token < kPageTokens; ++token) {
    const float* const row = residual_.data() + std::size_t{token} * head_dim_;
    for (std::uint32_t i = 0; i < head_dim_; ++i) sums_[i] += row[i];
  }
  for (std::uint32_t i = 0; i < head_dim_; ++i) {
    mean_[i] = to_half(static_cast<float>(sums_[i] / kPageTokens));
    if (!(std::abs(to_float(mean_[i])) <= kHalfMax)) return false;
  }
  std::copy(residual_.begin(), residual_.end(), centred_.begin());
  double ratio_sum = 0;
  std::uint32_t n_nonzero = 0;
  for (std::uint32_t token = 0; token < kPageTokens; ++token) {
    const std::span<float> row(centred_.data() + std::size_t{token} * head_dim_, head_dim_);
    const double before = squared_norm(row);
    for (std::uint32_t i = 0; i < head_dim_; ++i) row[i] -= to_float(mean_[i]);
    if (before > 0) {
      ratio_sum += squared_norm(row) / before;
      ++n_nonzero;
    }
  }
  if (ratio_sum < n_nonzero) {
    residual_.swap(centred_);
  } else {
    std::fill(mean_.begin(), mean_.end(), Half{});
  }
  return true;
}

bool BlockEncoder::quantise_token(const BlockEncoding& encoding, const NearestCode& nearest,
                                  std::uint32_t token) {
  const std::span<const float> r(residual_.data() + std::size_t{token} * head_dim_, head_dim_);
  scale_[token] = Half{};
  if (encoding.format.scheme() == Scheme::q8) {
    float magnitude = 0;
    for (const float value : r) magnitude = std::max(magnitude, std::abs(value));
    return magnitude < kHalfMinNormal || quantise_token_q8(token, magnitude);
  }
  const double norm = std::sqrt(squared_norm(r));
  return norm < static_cast<double>(kHalfMinNormal) ||
         quantise_token_tq(encoding, nearest, token, norm);
}

bool BlockEncoder::quantise_token_q8(std::uint32_t token, float magnitude) {
  const float* const r = residual_.data() + std::size_t{token} * head_dim_;
  std::uint8_t* const codes = codes_.data() + std::size_t{token} * padded_dim_;
  const float per_code = static_cast<float>(KVAULT_Q8_CODE_MAX) / magnitude;
  for (std::uint32_t i = 0; i < head_dim_; ++i) {
    const float rounded = std::nearbyint(r[i] * per_code);
    const float code = std::clamp(rounded, -127.0F, 127.0F);
    codes[i] = static_cast<std::uint8_t>(static_cast<std::int8_t>(code));
  }
  return round_scale(magnitude, scale_[token]);
}

bool BlockEncoder::quantise_token_tq(const BlockEncoding& encoding, const NearestCode& nearest,
                                     std::uint32_t token, double norm) {
  const Scheme scheme = encoding.format.scheme();
  const Codebook book = Codebook::of(scheme);
  const float step = Codebook::step(scheme, head_dim_);
  const auto per_step = static_cast<float>(1.0 / (norm * step));
  const float* const r = residual_.data() + std::size_t{token} * head_dim_;
  std::uint8_t* const codes = codes_.data() + std::size_t{token} * padded_dim_;
  double rc = 0;
  double cc = 0;
  for (std::uint32_t i = 0; i < head_dim_; ++i) {
    codes[i] = nearest(r[i] * per_step + book.centre);
    const double c = (static_cast<double>(book.levels[codes[i]]) - book.centre) * step;
    rc += c * r[i];
    cc += c * c;
  }
  double scale = norm;
  switch (encoding.rule) {
    case ScaleRule::plain:
      break;
    case ScaleRule::matched:
      scale = norm / std::sqrt(cc);
      break;
    case ScaleRule::least_squares:
      scale = rc / cc;
      break;
    case ScaleRule::unbiased:
      scale = norm * norm / rc;
      break;
  }
  return round_scale(scale, scale_[token]);
}

void BlockEncoder::write(const BlockEncoding& encoding, std::span<std::byte> target) {
  const Scheme scheme = encoding.format.scheme();
  const BlockLayout layout = BlockLayout::of(encoding.format, head_dim_);
  std::fill(target.begin(), target.end(), std::byte{0});
  const std::size_t row_size_bytes = std::size_t{padded_dim_} * code_bits_of(scheme) / 8;
  if (encoding.side == Side::key) {
    for (std::uint32_t token = 0; token < kPageTokens; ++token) {
      pack_row(scheme, std::span(codes_).subspan(std::size_t{token} * padded_dim_, padded_dim_),
               target.subspan(token * row_size_bytes, row_size_bytes));
    }
  } else {
    constexpr std::uint32_t kQuad = KVAULT_QUAD_N_TOKEN;
    for (std::uint32_t token = 0; token < kPageTokens; token += kQuad) {
      for (std::uint32_t j = 0; j < kQuad; ++j) {
        const std::uint8_t* const row = codes_.data() + std::size_t{token + j} * padded_dim_;
        for (std::uint32_t i = 0; i < padded_dim_; ++i) quad_[std::size_t{i} * kQuad + j] = row[i];
      }
      pack_row(scheme, quad_, target.subspan(token * row_size_bytes, row_size_bytes * kQuad));
    }
  }
  std::memcpy(target.data() + layout.scale_offset_bytes, scale_.data(), scale_.size() * 2);
  if (encoding.format.is_centred()) {
    std::memcpy(target.data() + layout.mean_offset_bytes, mean_.data(), mean_.size() * 2);
  }
}

}  // namespace kvault
