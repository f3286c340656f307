#pragma once

#include <cstddef>
#include <cstdint>

#include "core/layout/scheme.hpp"

namespace kvault::cpu {

inline constexpr std::size_t kQuadTokens = KVAULT_QUAD_N_TOKEN;

/// Four tokens to be quantised together.
struct RowQuad {
  const float* rows = nullptr;  ///< [4, stride], rotated
  std::size_t stride = 0;
  const float* mean = nullptr;    ///< [n_dim], to be subtracted
  const float* factor = nullptr;  ///< [4]; tq: 2 / (norm * step), q8: 127 / max|r|
  std::size_t n_dim = 0;
};

/// What the scales of four tokens are made of, with levels q = 2 * (level - centre); tq only.
struct QuadSums {
  float* squares = nullptr;   ///< [4] sum of q^2
  float* products = nullptr;  ///< [4] sum of q * r
};

/// Which of them a scale rule needs.
enum class NeededSums : std::uint8_t { squares, products, both };

}  // namespace kvault::cpu
