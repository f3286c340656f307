#pragma once

#include "tools/eval/codec.hpp"

namespace kvault::eval {

/// The paper's fractional bits and the outlier channels of its first port (TurboQuant, arXiv
/// 2504.19874, section 4.3; the paper leaves open how channels are chosen): the `n_loud` channels
/// of the most energy in the first 256 tokens of a session go to one codec, the others to another.
/// A null `loud` keeps them at 16 bits.
class SplitChannels final : public SideCodec {
 public:
  SplitChannels(std::uint32_t n_loud, std::shared_ptr<const SideCodec> loud,
                std::shared_ptr<const SideCodec> quiet)
      : n_loud_(n_loud), loud_(std::move(loud)), quiet_(std::move(quiet)) {}
  double bits_per_element(std::uint32_t head_dim) const override;
  double session_bits(std::uint32_t head_dim) const override { return head_dim; }
  void code(const HeadRows& in, std::span<float> out) const override;

 private:
  std::uint32_t n_loud_;
  std::shared_ptr<const SideCodec> loud_;
  std::shared_ptr<const SideCodec> quiet_;
};

}  // namespace kvault::eval
