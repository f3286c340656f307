#pragma once

#include <cstdint>

#include "core/codec/scale_rule.hpp"

namespace kvault::eval {

enum class CodeKind : std::uint8_t { lloyd, trellis, uniform, sphere, cut_at_3_sigma, q8 };
enum class RotationKind : std::uint8_t { signed_hadamard, plain_hadamard, haar, none };
enum class MeanKind : std::uint8_t { none, f16, bits8 };
/// How a token's scale is stored.
enum class ScaleType : std::uint8_t { f16, bf16, f32 };
/// What keys (values: `profile` alone) are multiplied by before they are rotated.
enum class TransformKind : std::uint8_t {
  none,
  learned,         ///< the product's vector, from the first n_learn tokens
  weights,         ///< a vector from the rows of the query and key weights
  profile,         ///< a vector from the moments of another text
  matrix,          ///< the full matrix from the first n_learn tokens, shrunk
  profile_matrix,  ///< the full matrix from another text
  allocated,       ///< principal axes from another text, bits and scales by axis
};

/// One side of the product's codec and everything that may stand in for a part of it.
struct TurboOptions {
  CodeKind code = CodeKind::lloyd;
  double bits = 4;  ///< of a code; halves only where `transform` is allocated
  RotationKind rotation = RotationKind::signed_hadamard;
  MeanKind mean = MeanKind::none;
  ScaleRule scale = kDefaultScaleRule;
  ScaleType scale_type = ScaleType::f16;
  bool renormalise = false;  ///< vLLM's _nc: plain scale, codes brought to length 1 when read
  TransformKind transform = TransformKind::none;
  std::uint32_t n_learn = 256;
  double shrinkage = 0.1;
  std::uint32_t page = 128;
};

}  // namespace kvault::eval
