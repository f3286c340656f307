#include "core/cpu/tile_math.hpp"

#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/cpu/tile_math.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <hwy/contrib/math/math-inl.h>

// Compiled once per instruction set; the table at the end picks at run time.
HWY_BEFORE_NAMESPACE();
namespace kvault::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, 16>;

/// kRow rows of C by two vectors of columns, held in registers over the whole inner loop.
template <std::size_t kRow>
HWY_INLINE void accumulate_strip(const TileProduct& p, std::size_t row, std::size_t column) {
  const Floats d;
  const std::size_t n = hn::Lanes(d);
  using Vector = hn::Vec<Floats>;
  Vector low[kRow];
  Vector high[kRow];
  float* const c = p.c + row * p.c_stride + column;
  for (std::size_t r = 0; r < kRow; ++r) {
    low[r] = hn::Load(d, c + r * p.c_stride);
    high[r] = hn::Load(d, c + r * p.c_stride + n);
  }
  const float* const a = p.a + row * p.a_stride;
  const float* b = p.b + column;
  for (std::size_t k = 0; k < p.n_inner; ++k, b += p.b_stride) {
    const Vector b_low = hn::Load(d, b);
    const Vector b_high = hn::Load(d, b + n);
    for (std::size_t r = 0; r < kRow; ++r) {
      const Vector factor = hn::Set(d, a[r * p.a_stride + k]);
      low[r] = hn::MulAdd(factor, b_low, low[r]);
      high[r] = hn::MulAdd(factor, b_high, high[r]);
    }
  }
  for (std::size_t r = 0; r < kRow; ++r) {
    hn::Store(low[r], d, c + r * p.c_stride);
    hn::Store(high[r], d, c + r * p.c_stride + n);
  }
}

void AccumulateProduct(const TileProduct& p) {
  const std::size_t n_column_strip = 2 * hn::Lanes(Floats());
  for (std::size_t column = 0; column < p.n_column; column += n_column_strip) {
    std::size_t row = 0;
    for (; row + 4 <= p.n_row; row += 4) accumulate_strip<4>(p, row, column);
    for (; row < p.n_row; ++row) accumulate_strip<1>(p, row, column);
  }
}

float AdvanceSoftmax(float* s, std::size_t n, SoftmaxState& state) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const Floats d;
  const std::size_t n_lane = hn::Lanes(d);
  auto maxima = hn::Set(d, state.maximum);
  for (std::size_t i = 0; i < n; i += n_lane) maxima = hn::Max(maxima, hn::Load(d, s + i));
  const float maximum = hn::GetLane(hn::MaxOfLanes(d, maxima));
  if (maximum == kNone) {  // nothing visible yet: no key has weight
    for (std::size_t i = 0; i < n; i += n_lane) hn::Store(hn::Zero(d), d, s + i);
    return 1;
  }
  const auto shift = hn::Set(d, maximum);
  const auto least = hn::Set(d, -104.0F);  // exp() below is 0 in float
  auto sums = hn::Zero(d);
  for (std::size_t i = 0; i < n; i += n_lane) {
    const auto x = hn::Sub(hn::Load(d, s + i), shift);
    const auto p = hn::IfThenElseZero(hn::Gt(x, least), hn::Exp(d, hn::Max(x, least)));
    sums = hn::Add(sums, p);
    hn::Store(p, d, s + i);
  }
  float rescale = 1;
  if (state.maximum != maximum) {
    const float difference = state.maximum - maximum;  // -infinity the first time
    rescale = difference > -104.0F ? hn::GetLane(hn::Exp(d, hn::Set(d, difference))) : 0.0F;
  }
  state.sum = state.sum * rescale + hn::GetLane(hn::SumOfLanes(d, sums));
  state.maximum = maximum;
  return rescale;
}

void ScaleRow(float* x, std::size_t n, float factor) {
  const Floats d;
  const auto f = hn::Set(d, factor);
  for (std::size_t i = 0; i < n; i += hn::Lanes(d)) {
    hn::Store(hn::Mul(hn::Load(d, x + i), f), d, x + i);
  }
}

void MultiplyRows(float* x, const float* factor, std::size_t n) {
  const Floats d;
  for (std::size_t i = 0; i < n; i += hn::Lanes(d)) {
    hn::Store(hn::Mul(hn::Load(d, x + i), hn::LoadU(d, factor + i)), d, x + i);
  }
}

void WidenHalves(const Half* source, float* target, std::size_t n) {
  const Floats d;
  const hn::Rebind<hwy::float16_t, Floats> d_half;
  const auto* const halves = reinterpret_cast<const hwy::float16_t*>(source);
  const std::size_t n_lane = hn::Lanes(d);
  std::size_t i = 0;
  for (; i + n_lane <= n; i += n_lane) {
    hn::StoreU(hn::PromoteTo(d, hn::LoadU(d_half, halves + i)), d, target + i);
  }
  for (; i < n; ++i) target[i] = to_float(source[i]);
}

void WidenBytes(const std::int8_t* source, float* target, std::size_t n) {
  const Floats d;
  const hn::Rebind<std::int32_t, Floats> d_int;
  const hn::Rebind<std::int8_t, Floats> d_byte;
  for (std::size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto wide = hn::PromoteTo(d_int, hn::LoadU(d_byte, source + i));
    hn::StoreU(hn::ConvertTo(d, wide), d, target + i);
  }
}

}  // namespace kvault::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvault::cpu {

HWY_EXPORT(AccumulateProduct);
HWY_EXPORT(AdvanceSoftmax);
HWY_EXPORT(ScaleRow);
HWY_EXPORT(MultiplyRows);
HWY_EXPORT(WidenHalves);
HWY_EXPORT(WidenBytes);

void accumulate_product(const TileProduct& product) {
  HWY_DYNAMIC_DISPATCH(AccumulateProduct)(product);
}

float advance_softmax(float* s, std::size_t n, SoftmaxState& state) {
  return HWY_DYNAMIC_DISPATCH(AdvanceSoftmax)(s, n, state);
}

void scale_row(float* x, std::size_t n, float factor) {
  HWY_DYNAMIC_DISPATCH(ScaleRow)(x, n, factor);
}

void multiply_rows(float* x, const float* factor, std::size_t n) {
  HWY_DYNAMIC_DISPATCH(MultiplyRows)(x, factor, n);
}

void widen_halves(const Half* source, float* target, std::size_t n) {
  HWY_DYNAMIC_DISPATCH(WidenHalves)(source, target, n);
}

void widen_bytes(const std::int8_t* source, float* target, std::size_t n) {
  HWY_DYNAMIC_DISPATCH(WidenBytes)(source, target, n);
}

}  // namespace kvault::cpu
#endif
