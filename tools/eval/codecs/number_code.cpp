#include "tools/eval/codecs/number_code.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "core/base/assert.hpp"
#include "core/codec/codebook.hpp"
#include "tools/eval/gaussian.hpp"

namespace kvault::eval {
namespace {

std::vector<float> as_float(const std::vector<double>& values) {
  return std::vector<float>(values.begin(), values.end());
}

std::vector<float> product_table(Scheme scheme) {
  const Codebook codebook = Codebook::of(scheme);
  std::vector<float> table;
  for (const std::uint8_t level : codebook.levels) {
    table.push_back((static_cast<float>(level) - codebook.centre) * codebook.step_times_sqrt_dim);
  }
  return table;
}

/// Mean square error of the nearest of n equal steps around 0 for a standard normal number.
double uniform_error(double step, int n) {
  double error = 0;
  constexpr double kCell = 0.002;
  for (double x = kCell / 2; x < 8; x += kCell) {
    const double place = std::min(std::floor(x / step), n / 2.0 - 1) + 0.5;
    const double miss = x - place * step;
    error += 2 * miss * miss * std::exp(-x * x / 2) * kCell;
  }
  return error;
}

std::vector<float> uniform_table(std::uint32_t bits) {
  const int n = 1 << bits;
  double best = 0.01;
  for (double step = 0.01; step < 2; step *= 1.01) {
    if (uniform_error(step, n) < uniform_error(best, n)) best = step;
  }
  std::vector<float> table;
  for (int i = 0; i < n; ++i) table.push_back(static_cast<float>((i - n / 2 + 0.5) * best));
  return table;
}

}  // namespace

std::unique_ptr<TableCode> TableCode::lloyd(std::span<const std::uint32_t> bits) {
  auto code = std::make_unique<TableCode>();
  for (const std::uint32_t b : bits) {
    KVAULT_ASSERT(b >= 1 && b <= kBitsMax);
    if (b == 2) {
      code->tables_[b] = product_table(Scheme::tq2);
    } else if (b == 3) {
      code->tables_[b] = product_table(Scheme::tq3);
    } else if (b == 4) {
      code->tables_[b] = product_table(Scheme::tq4);
    } else {
      code->tables_[b] = as_float(lloyd_max(b).values);
    }
  }
  return code;
}

std::unique_ptr<TableCode> TableCode::uniform(std::span<const std::uint32_t> bits) {
  auto code = std::make_unique<TableCode>();
  for (const std::uint32_t b : bits) code->tables_[b] = uniform_table(b);
  return code;
}

std::unique_ptr<TableCode> TableCode::sphere(std::span<const std::uint32_t> bits,
                                             std::uint32_t dim) {
  auto code = std::make_unique<TableCode>();
  for (const std::uint32_t b : bits)
    code->tables_[b] = as_float(lloyd_max_on_sphere(b, dim).values);
  return code;
}

std::unique_ptr<TableCode> TableCode::cut_at_3_sigma() {
  auto code = std::make_unique<TableCode>();
  code->tables_[4] = as_float(lloyd_max_within(4, 3.0).values);
  return code;
}

void TableCode::quantise(std::span<const float> numbers, std::span<const std::uint8_t> bits,
                         std::span<const float> /*weights*/, std::span<float> values) const {
  KVAULT_ASSERT(numbers.size() == values.size() && !bits.empty());
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const std::uint32_t b = bits[i % bits.size()];
    values[i] = 0;
    if (b == 0) continue;
    KVAULT_ASSERT(b <= kBitsMax && !tables_[b].empty());
    const float* const table = tables_[b].data();
    std::size_t low = 0;
    for (std::size_t half = tables_[b].size() / 2; half > 0; half /= 2) {
      const std::size_t next = low + half;
      if (numbers[i] >= (table[next - 1] + table[next]) / 2) low = next;
    }
    values[i] = table[low];
  }
}

void TrellisCode::quantise(std::span<const float> numbers, std::span<const std::uint8_t> bits,
                           std::span<const float> weights, std::span<float> values) const {
  std::vector<std::uint8_t> codes(numbers.size());
  trellis_.encode(numbers, bits, weights, codes);
  trellis_.decode(codes, bits, values);
}

// Lloyd-Max of a Gaussian (computed here too: tests/unit/tools/eval), and what the trellis reaches
// on 131,072 Gaussian numbers.
std::span<const double> scalar_errors() {
  static constexpr std::array<double, 7> kErrors = {1,        0.363380, 0.117482, 0.034548,
                                                    0.009501, 0.002505, 0.000645};
  return kErrors;
}

std::span<const double> trellis_errors() {
  static constexpr std::array<double, 7> kErrors = {1,       0.27880, 0.07950, 0.02226,
                                                    0.00619, 0.00169, 0.00047};
  return kErrors;
}

}  // namespace kvault::eval
