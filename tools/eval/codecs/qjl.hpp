#pragma once

#include "tools/eval/codec.hpp"

namespace kvault::eval {

/// A codec with QJL's residual behind it (TurboQuant, arXiv 2504.19874, algorithm 2): the signs of
/// S r and |r| of what the codec misses, S Gaussian. Inner products with any vector then come out
/// right on average over S.
class Qjl final : public SideCodec {
 public:
  Qjl(std::shared_ptr<const SideCodec> base, std::uint64_t seed)
      : base_(std::move(base)), seed_(seed) {}
  double bits_per_element(std::uint32_t head_dim) const override {
    return base_->bits_per_element(head_dim) + 1 + 16.0 / head_dim;
  }
  double session_bits(std::uint32_t head_dim) const override {
    return base_->session_bits(head_dim);
  }
  void code(const HeadRows& in, std::span<float> out) const override;

 private:
  std::shared_ptr<const SideCodec> base_;
  std::uint64_t seed_;
};

}  // namespace kvault::eval
