#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/codec/hadamard.hpp"

namespace kvault {

/// The fixed random rotation y = H S x of one head_dim (TurboQuant's, arXiv 2504.19874, with a
/// signed Hadamard matrix in place of a dense one). Immutable once made; any thread may use it.
class Rotation {
 public:
  /// pre: is_supported_head_dim(head_dim)
  explicit Rotation(std::uint32_t head_dim);

  std::uint32_t head_dim() const { return head_dim_; }
  HadamardFactors factors() const { return factors_; }
  /// The diagonal of S over sqrt(head_dim), [head_dim]: what is left of the rotation once its sums
  /// and differences are done.
  std::span<const float> scaled_signs() const { return scaled_signs_; }
  /// P_m, row-major [m, m]; a single 1 where there is no Paley factor.
  std::span<const float> paley_signs() const { return paley_; }
  /// x [head_dim] becomes H S x.
  void apply(std::span<float> x) const;
  /// y [head_dim] becomes S H^T y, so that apply_inverse undoes apply.
  void apply_inverse(std::span<float> y) const;

 private:
  void multiply_paley(std::span<float> x, bool transposed) const;

  std::uint32_t head_dim_;
  HadamardFactors factors_;
  float norm_;                       ///< 1 / sqrt(head_dim)
  std::vector<float> signs_;         ///< [head_dim], S
  std::vector<float> scaled_signs_;  ///< [head_dim], S times norm
  std::vector<float> paley_;         ///< [m, m]
};

}  // namespace kvault
