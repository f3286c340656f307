#include "tools/eval/codecs/turbo_codec.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/base/assert.hpp"
#include "core/base/half.hpp"
#include "core/layout/block_layout.hpp"
#include "tools/eval/codecs/head_transform.hpp"

namespace kvault::eval {
namespace {

constexpr double kQ8Max = 127;
/// Below it a residual is stored as nothing (docs/format.md, "Encoding").
constexpr double kLeast = 0x1p-14;

float stored(ScaleType type, double scale) {
  const auto value = static_cast<float>(scale);
  switch (type) {
    case ScaleType::f16: {
      const float half = to_float(to_half(std::min(value, kHalfMax)));
      return half < kHalfMinNormal ? 0.0F : half;
    }
    case ScaleType::bf16:
      return to_float(to_bfloat16(value));
    case ScaleType::f32:
      break;
  }
  return value;
}

/// What is subtracted from every row of a page, as it is stored.
class PageMean {
 public:
  /// rows [n][dim] in the rotated domain. Zeros where subtracting would not help.
  static PageMean of(std::span<const float> rows, std::size_t dim, MeanKind kind) {
    PageMean mean;
    mean.entries_.resize(dim);
    if (kind == MeanKind::none) return mean;
    std::vector<double> sums(dim);
    for (std::size_t i = 0; i < rows.size(); ++i) sums[i % dim] += double{rows[i]};
    const double n = static_cast<double>(rows.size() / dim);
    for (std::size_t c = 0; c < dim; ++c) {
      mean.entries_[c] = to_float(to_half(static_cast<float>(sums[c] / n)));
    }
    if (kind == MeanKind::bits8) mean.round();
    if (!mean.helps(rows)) std::fill(mean.entries_.begin(), mean.entries_.end(), 0.0F);
    return mean;
  }

  void subtract_from(std::span<float> rows) const {
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] -= entries_[i % entries_.size()];
  }
  void add_to(std::span<float> rows) const {
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] += entries_[i % entries_.size()];
  }

 private:
  /// To 8 bits and one scale.
  void round() {
    float highest = 0;
    for (const float m : entries_) highest = std::max(highest, std::abs(m));
    const float step = highest / static_cast<float>(kQ8Max);
    for (float& m : entries_) m = step == 0 ? 0 : std::round(m / step) * step;
  }
  /// Whether the sum over tokens of |r|^2 / |y|^2 falls (docs/format.md, "Encoding").
  bool helps(std::span<const float> rows) const {
    const std::size_t dim = entries_.size();
    double with = 0;
    double without = 0;
    for (std::size_t first = 0; first < rows.size(); first += dim) {
      double energy = 0;
      double left = 0;
      for (std::size_t c = 0; c < dim; ++c) {
        const double y = double{rows[first + c]};
        energy += y * y;
        left += (y - double{entries_[c]}) * (y - double{entries_[c]});
      }
      if (energy == 0) continue;
      with += left / energy;
      without += 1;
    }
    return with < without;
  }

  std::vector<float> entries_;  ///< [dim]
};

/// r becomes scale * c as stored; r and c [dim], both read as their lengths under `weights`.
void scale_row(const TurboOptions& options, std::span<const float> weights, double rms,
               std::span<const float> c, std::span<float> r) {
  double rr = 0;
  double rc = 0;
  double cc = 0;
  for (std::size_t i = 0; i < r.size(); ++i) {
    const double w = double{weights[i]};
    rr += w * double{r[i]} * double{r[i]};
    rc += w * double{r[i]} * double{c[i]};
    cc += w * double{c[i]} * double{c[i]};
  }
  double scale = 0;
  if (std::sqrt(rr) >= kLeast && cc > 0) {
    switch (options.scale) {
      case ScaleRule::plain:
        scale = rms;
        break;
      case ScaleRule::matched:
        scale = std::sqrt(rr / cc);
        break;
      case ScaleRule::least_squares:
        scale = rc / cc;
        break;
      case ScaleRule::unbiased:
        scale = rc > 0 ? rr / rc : 0;
        break;
    }
    // What is stored belongs to a unit vector: |r| for the plain rule.
    const double root = std::sqrt(static_cast<double>(r.size()));
    scale = double{stored(options.scale_type, scale * root)} / root;
    if (options.renormalise) scale *= std::sqrt(static_cast<double>(r.size()) / cc);
  }
  for (std::size_t i = 0; i < r.size(); ++i) r[i] = static_cast<float>(scale * double{c[i]});
}

void code_by_largest(std::span<float> r) {
  float highest = 0;
  for (const float x : r) highest = std::max(highest, std::abs(x));
  const float scale = stored(ScaleType::f16, double{highest});
  const float step = scale / static_cast<float>(kQ8Max);
  for (float& x : r) {
    const double level = highest == 0 ? 0 : std::round(kQ8Max * double{x} / double{highest});
    x = static_cast<float>(level) * step;
  }
}

}  // namespace

TurboCodec::TurboCodec(const TurboOptions& options, std::shared_ptr<const NumberCode> code)
    : options_(options), code_(std::move(code)) {
  KVAULT_ASSERT(options.page > 0 && (code_ != nullptr || options.code == CodeKind::q8));
}

/// As core/layout lays a block out: planes padded to 128 bytes.
double TurboCodec::bits_per_element(std::uint32_t head_dim) const {
  const std::uint64_t page = options_.page;
  const double code_bits = options_.code == CodeKind::q8 ? 8 : options_.bits;
  const auto codes = static_cast<std::uint64_t>(
      std::ceil(double(page) * double(padded_head_dim(head_dim)) * code_bits / 8));
  const std::uint64_t scales = page * (options_.scale_type == ScaleType::f32 ? 4 : 2);
  std::uint64_t size_bytes = align_up(codes, 128) + align_up(scales, 128);
  if (options_.mean == MeanKind::f16) {
    size_bytes += align_up(std::uint64_t{padded_head_dim(head_dim)} * 2, 128);
  }
  if (options_.mean == MeanKind::bits8) size_bytes += padded_head_dim(head_dim) + 2;
  return double(size_bytes) * 8 / (double(page) * head_dim);
}

double TurboCodec::session_bits(std::uint32_t head_dim) const {
  const double dim = head_dim;
  if (options_.transform == TransformKind::learned) return 16 * dim;
  if (options_.transform == TransformKind::matrix) return 16 * dim * dim;
  return 0;
}

void TurboCodec::code_numbers(const HeadTransform& transform, std::span<float> rows,
                              std::size_t dim) const {
  const std::size_t n = rows.size() / dim;
  std::vector<float> numbers(rows.size());
  std::vector<float> values(rows.size());
  std::vector<double> rms(n);
  for (std::size_t t = 0; t < n; ++t) {
    const std::span<const float> row = rows.subspan(t * dim, dim);
    double energy = 0;
    for (const float x : row) energy += double{x} * double{x};
    rms[t] = std::sqrt(energy / static_cast<double>(dim));
    const double factor = rms[t] > 0 ? 1 / rms[t] : 0;
    for (std::size_t i = 0; i < dim; ++i) {
      numbers[t * dim + i] = static_cast<float>(double{row[i]} * factor);
    }
  }
  code_->quantise(numbers, transform.bits, transform.weights, values);
  for (std::size_t t = 0; t < n; ++t) {
    scale_row(options_, transform.weights, rms[t],
              std::span<const float>(values).subspan(t * dim, dim), rows.subspan(t * dim, dim));
  }
}

std::shared_ptr<const HeadTransform> TurboCodec::transform_for(const HeadRows& in) const {
  const bool is_of_session =
      options_.transform == TransformKind::learned || options_.transform == TransformKind::matrix;
  if (is_of_session) return std::make_shared<HeadTransform>(transform_of(options_, in));
  const std::lock_guard lock(mutex_);
  std::shared_ptr<const HeadTransform>& kept = kept_[{in.profile, in.side}];
  if (kept == nullptr) kept = std::make_shared<HeadTransform>(transform_of(options_, in));
  return kept;
}

void TurboCodec::code(const HeadRows& in, std::span<float> out) const {
  KVAULT_ASSERT(in.rows.size() == out.size());
  const std::size_t dim = in.head_dim;
  const std::shared_ptr<const HeadTransform> transform = transform_for(in);
  std::vector<float> y(in.rows.size());
  transform->map.forward(in.rows, y);
  for (std::size_t first = 0; first < in.n_token; first += options_.page) {
    const std::size_t n = std::min<std::size_t>(options_.page, in.n_token - first);
    const std::span<float> rows = std::span<float>(y).subspan(first * dim, n * dim);
    const PageMean mean = PageMean::of(rows, dim, options_.mean);
    mean.subtract_from(rows);
    if (options_.code == CodeKind::q8) {
      for (std::size_t t = 0; t < n; ++t) code_by_largest(rows.subspan(t * dim, dim));
    } else {
      code_numbers(*transform, rows, dim);
    }
    mean.add_to(rows);
  }
  transform->map.inverse(y, out);
}

}  // namespace kvault::eval
