#pragma once

#include "tools/eval/codec.hpp"

namespace kvault::eval {

/// A rival after KVarN's description (arXiv 2606.03458; its code was not at hand): a Hadamard
/// transform, then per tile of 128 tokens a scale per token and one per channel that bring all
/// variances to one (Sinkhorn's alternation in the logarithm), then equal steps between the least
/// and the largest of a token's numbers.
class Kvarn final : public SideCodec {
 public:
  explicit Kvarn(std::uint32_t bits) : bits_(bits) {}
  double bits_per_element(std::uint32_t head_dim) const override;
  void code(const HeadRows& in, std::span<float> out) const override;

 private:
  std::uint32_t bits_;
};

}  // namespace kvault::eval
