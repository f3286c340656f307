#pragma once

#include <array>
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

/// Nearest code of a residual in units of the step: code = table[clamp(floor(2 * u), 0, 255)] with
/// u = residual / step + centre. Exact: thresholds are midpoints of integers.
class NearestCode {
 public:
  /// pre: a tq scheme
  explicit NearestCode(Scheme scheme);
  std::uint8_t operator()(float u) const {
    const float doubled = u * 2.0F;
    if (!(doubled > 0.0F)) return codes_[0];
    return codes_[doubled < 255.0F ? static_cast<std::uint32_t>(doubled) : 255U];
  }

 private:
  std::array<std::uint8_t, 256> codes_{};
};

}  // namespace kvault
