#pragma once

#include "tools/eval/codec.hpp"

namespace kvault::eval {

/// llama.cpp's cache types: blocks of 32 channels of a token with an f16 scale.
enum class GgmlType : std::uint8_t { q8_0, q4_0, q4_1 };

/// A rival: rows as llama.cpp keeps them (ggml, quantize_row_*_ref), with a plain Hadamard
/// transform of 64 channels before them where `rotated` (llama.cpp's attention rotation).
class GgmlBlock final : public SideCodec {
 public:
  GgmlBlock(GgmlType type, bool rotated) : type_(type), rotated_(rotated) {}
  double bits_per_element(std::uint32_t head_dim) const override;
  void code(const HeadRows& in, std::span<float> out) const override;

 private:
  GgmlType type_;
  bool rotated_;
};

}  // namespace kvault::eval
