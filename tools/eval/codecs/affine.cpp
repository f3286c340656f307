#include "tools/eval/codecs/affine.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/base/assert.hpp"
#include "core/base/half.hpp"

namespace kvault::eval {
namespace {

constexpr float kLeastScale = 1e-8F;

float as_half(float value) { return to_float(to_half(std::clamp(value, -kHalfMax, kHalfMax))); }

/// n numbers that lie `stride` apart.
void code_group(const float* x, float* out, std::size_t n, std::size_t stride, float top) {
  float low = x[0];
  float high = x[0];
  for (std::size_t i = 1; i < n; ++i) {
    low = std::min(low, x[i * stride]);
    high = std::max(high, x[i * stride]);
  }
  const float scale = std::max((high - low) / top, kLeastScale);
  for (std::size_t i = 0; i < n; ++i) {
    const float level = std::clamp(std::floor((x[i * stride] - low) / scale + 0.5F), 0.0F, top);
    out[i * stride] = level * as_half(scale) + as_half(low);
  }
}

float as_e4m3(float value) {
  constexpr float kHighest = 448;
  constexpr int kLeastExponent = -6;
  if (value == 0) return value;
  const int exponent = std::max(std::ilogb(value), kLeastExponent);
  const float step = std::ldexp(1.0F, exponent - 3);
  return std::clamp(std::nearbyint(value / step) * step, -kHighest, kHighest);
}

}  // namespace

double Affine::bits_per_element(std::uint32_t head_dim) const {
  return bits_ + 32.0 / (n_group_ == 0 ? head_dim : n_group_);
}

void Affine::code(const HeadRows& in, std::span<float> out) const {
  const std::size_t dim = in.head_dim;
  const float top = static_cast<float>((1U << bits_) - 1U);
  if (group_ == Group::channels) {
    const std::size_t n_group = n_group_ == 0 ? dim : n_group_;
    KVAULT_ASSERT(dim % n_group == 0);
    for (std::size_t first = 0; first < in.rows.size(); first += n_group) {
      code_group(&in.rows[first], &out[first], n_group, 1, top);
    }
    return;
  }
  for (std::size_t first = 0; first < in.n_token; first += n_group_) {
    const std::size_t n = std::min<std::size_t>(n_group_, in.n_token - first);
    for (std::size_t c = 0; c < dim; ++c) {
      code_group(&in.rows[first * dim + c], &out[first * dim + c], n, dim, top);
    }
  }
}

void Fp8::code(const HeadRows& in, std::span<float> out) const {
  std::transform(in.rows.begin(), in.rows.end(), out.begin(), as_e4m3);
}

}  // namespace kvault::eval
