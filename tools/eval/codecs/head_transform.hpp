#pragma once

#include <cstdint>
#include <vector>

#include "tools/eval/codec.hpp"
#include "tools/eval/codecs/turbo_options.hpp"
#include "tools/eval/matrix.hpp"

namespace kvault::eval {

/// What happens to a head's rows before they are coded: a linear map, and how many bits and what
/// weight each of its coordinates has.
struct HeadTransform {
  RowMap map;
  std::vector<std::uint8_t> bits;  ///< [1] for all alike, or [head_dim]
  std::vector<float> weights;      ///< [head_dim]: what a unit of squared error costs; mean 1
};

/// Transform and rotation of one head. Statistics that are not there (no profile, no queries) leave
/// the rows as they are.
HeadTransform transform_of(const TurboOptions& options, const HeadRows& in);

/// Bits by reverse water-filling in whole bits: the next one always goes where it lowers
/// sum variance * error most. `errors` [7] by count of bits; sum of the result = total.
std::vector<std::uint8_t> allocate_bits(std::span<const double> variances,
                                        std::span<const double> errors, std::uint32_t total);

}  // namespace kvault::eval
