#pragma once

#include <cstdint>
#include <span>

#include "core/layout/scheme.hpp"

namespace kvault {

/// The integer codebook of a coded scheme: value(code) = (level - centre) * step(head_dim).
/// tq: Lloyd-Max of a Gaussian, snapped (TurboQuant, arXiv 2504.19874, section 3.1; the table is
/// part of the format). q8: level = signed code, centre 0.
struct Codebook {
  std::span<const std::uint8_t> levels;  ///< [2^bits], ascending, 0..127; empty for q8
  float centre = 0;
  float step_times_sqrt_dim = 0;  ///< tq; the step in units of 1/sqrt(head_dim)

  /// pre: scheme != Scheme::raw
  static Codebook of(Scheme scheme);
  /// What scale * (level - centre) is multiplied by.
  static float step(Scheme scheme, std::uint32_t head_dim);
};

}  // namespace kvault
