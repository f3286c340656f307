#pragma once

#include "tools/eval/codec.hpp"

namespace kvault::eval {

/// Equal steps between the least and the largest number of a group, f16 scale and f16 least number
/// per group: values of vLLM's TurboQuant (a group is a token's row), and both sides of KIVI
/// (arXiv 2402.02750, section 3: keys by channel over 32 tokens, values by token over 32 channels).
class Affine final : public SideCodec {
 public:
  enum class Group : std::uint8_t { channels, tokens };
  /// `n_group`: numbers of a group; 0: a whole row, with `Group::channels`.
  Affine(std::uint32_t bits, Group group, std::uint32_t n_group)
      : bits_(bits), group_(group), n_group_(n_group) {}
  double bits_per_element(std::uint32_t head_dim) const override;
  void code(const HeadRows& in, std::span<float> out) const override;

 private:
  std::uint32_t bits_;
  Group group_;
  std::uint32_t n_group_;
};

/// A rival: keys of vLLM's turboquant_k8v4, plain FP8 of type E4M3 without scale.
class Fp8 final : public SideCodec {
 public:
  double bits_per_element(std::uint32_t) const override { return 8; }
  void code(const HeadRows& in, std::span<float> out) const override;
};

}  // namespace kvault::eval
