#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tools/eval/codecs/trellis.hpp"

namespace kvault::eval {

/// How numbers of variance 1 become codes; what is left of a codec once rows are transformed and
/// scaled. Immutable; any thread.
class NumberCode {
 public:
  NumberCode() = default;
  NumberCode(const NumberCode&) = delete;
  NumberCode& operator=(const NumberCode&) = delete;
  virtual ~NumberCode() = default;

  /// numbers[n] to the values of their codes, values[n]. bits[i % bits.size()] is what number i
  /// gets; 0: no code, the value is 0. weights[i % weights.size()] is what a unit of its squared
  /// error costs.
  virtual void quantise(std::span<const float> numbers, std::span<const std::uint8_t> bits,
                        std::span<const float> weights, std::span<float> values) const = 0;
};

/// A table of values for each count of bits, the nearest is taken.
class TableCode final : public NumberCode {
 public:
  static constexpr std::uint32_t kBitsMax = 7;

  /// The product's integer tables at 2, 3 and 4 bits, Lloyd-Max elsewhere; for those counts.
  static std::unique_ptr<TableCode> lloyd(std::span<const std::uint32_t> bits);
  /// Equal steps, of the least error on Gaussian numbers.
  static std::unique_ptr<TableCode> uniform(std::span<const std::uint32_t> bits);
  /// The exact Lloyd-Max tables of `dim` coordinates of a random unit vector: the paper's.
  static std::unique_ptr<TableCode> sphere(std::span<const std::uint32_t> bits, std::uint32_t dim);
  /// Lloyd-Max of a Gaussian cut off at 3 sigma: ExecuTorch's.
  static std::unique_ptr<TableCode> cut_at_3_sigma();

  void quantise(std::span<const float> numbers, std::span<const std::uint8_t> bits,
                std::span<const float> weights, std::span<float> values) const override;
  std::span<const float> table(std::uint32_t bits) const { return tables_[bits]; }

 private:
  std::vector<float> tables_[kBitsMax + 1];  ///< ascending, [2^bits]
};

/// The trellis code over all numbers of a page, row after row.
class TrellisCode final : public NumberCode {
 public:
  explicit TrellisCode(std::span<const std::uint32_t> bits) : trellis_(bits) {}
  void quantise(std::span<const float> numbers, std::span<const std::uint8_t> bits,
                std::span<const float> weights, std::span<float> values) const override;

 private:
  Trellis trellis_;
};

/// Measured mean square error of numbers of variance 1 at 0..6 bits, [7].
std::span<const double> scalar_errors();
std::span<const double> trellis_errors();

}  // namespace kvault::eval
