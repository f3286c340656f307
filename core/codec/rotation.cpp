#include "core/codec/rotation.hpp"

#include <array>
#include <cmath>

#include "core/base/assert.hpp"
#include "core/layout/block_abi.inc"

namespace kvault {
namespace {

std::uint64_t next_splitmix64(std::uint64_t& state) {
  state += 0x9E3779B97F4A7C15U;
  std::uint64_t z = state;
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31U);
}

std::vector<float> make_signs(std::uint32_t head_dim) {
  std::uint64_t state =
      (std::uint64_t{KVAULT_ROTATION_SEED_HIGH} << 32U) | std::uint64_t{KVAULT_ROTATION_SEED_LOW};
  std::vector<float> signs(head_dim);
  std::uint64_t word = 0;
  for (std::uint32_t i = 0; i < head_dim; ++i) {
    if (i % 64 == 0) word = next_splitmix64(state);
    signs[i] = ((word >> (i % 64)) & 1U) != 0 ? -1.0F : 1.0F;
  }
  return signs;
}

/// The Sylvester transform of every run of `order` values, unnormalised, in place.
void transform_runs(std::span<float> x, std::uint32_t order) {
  float* const data = x.data();
  for (std::uint32_t half = 1; half < order; half *= 2) {
    for (std::size_t base = 0; base < x.size(); base += std::size_t{half} * 2) {
      float* const low = data + base;
      float* const high = low + half;
      for (std::uint32_t i = 0; i < half; ++i) {
        const float a = low[i];
        const float b = high[i];
        low[i] = a + b;
        high[i] = a - b;
      }
    }
  }
}

}  // namespace

Rotation::Rotation(std::uint32_t head_dim)
    : head_dim_(head_dim),
      factors_(hadamard_factors(head_dim)),
      norm_(1.0F / std::sqrt(static_cast<float>(head_dim))),
      signs_(make_signs(head_dim)),
      scaled_signs_(signs_),
      paley_(std::size_t{factors_.paley_order} * factors_.paley_order) {
  for (float& sign : scaled_signs_) sign *= norm_;
  fill_paley_signs(factors_.paley_order, paley_);
}

void Rotation::apply(std::span<float> x) const {
  KVAULT_ASSERT(x.size() == head_dim_);
  for (std::uint32_t i = 0; i < head_dim_; ++i) x[i] *= signs_[i];
  transform_runs(x, factors_.sylvester_order);
  multiply_paley(x, false);
  for (float& value : x) value *= norm_;
}

void Rotation::apply_inverse(std::span<float> y) const {
  KVAULT_ASSERT(y.size() == head_dim_);
  multiply_paley(y, true);
  transform_runs(y, factors_.sylvester_order);
  for (std::uint32_t i = 0; i < head_dim_; ++i) y[i] *= signs_[i] * norm_;
}

void Rotation::multiply_paley(std::span<float> x, bool transposed) const {
  const std::uint32_t m = factors_.paley_order;
  const std::uint32_t n = factors_.sylvester_order;
  if (m == 1) return;
  std::array<float, KVAULT_HEAD_DIM_MAX> sums{};
  for (std::uint32_t row = 0; row < m; ++row) {
    float* const sum = sums.data() + std::size_t{row} * n;
    for (std::uint32_t column = 0; column < m; ++column) {
      const std::size_t entry =
          transposed ? std::size_t{column} * m + row : std::size_t{row} * m + column;
      const float sign = paley_[entry];
      const float* const run = x.data() + std::size_t{column} * n;
      for (std::uint32_t u = 0; u < n; ++u) sum[u] += sign * run[u];
    }
  }
  for (std::uint32_t i = 0; i < head_dim_; ++i) x[i] = sums[i];
}

}  // namespace kvault
