#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/half.hpp"
#include "core/codec/codebook.hpp"
#include "core/codec/rotation.hpp"
#include "core/codec/scale_rule.hpp"
#include "core/layout/scheme.hpp"

namespace kvault {

/// What a block shall become.
struct BlockEncoding {
  Side side = Side::key;
  BlockFormat format;  ///< coded
  ScaleRule rule = ScaleRule::matched;
};

/// Encodes blocks of one head_dim on the host; docs/format.md, "Encoding". Keeps its scratch, so
/// one per thread.
class BlockEncoder {
 public:
  /// pre: `rotation` outlives the encoder
  explicit BlockEncoder(const Rotation& rotation);

  /// rows [128, head_dim], finite; equaliser [head_dim] or empty. Writes the whole block, padding
  /// included, or nothing and returns false where a scale or mean exceeds binary16.
  [[nodiscard]] bool encode(const BlockEncoding& encoding, std::span<const float> rows,
                            std::span<const Half> equaliser, std::span<std::byte> target);

 private:
  void rotate(std::span<const float> rows, std::span<const Half> equaliser);
  bool subtract_mean();
  bool quantise_token(const BlockEncoding& encoding, const NearestCode& nearest,
                      std::uint32_t token);
  bool quantise_token_tq(const BlockEncoding& encoding, const NearestCode& nearest,
                         std::uint32_t token, double norm);
  bool quantise_token_q8(std::uint32_t token, float magnitude);
  void write(const BlockEncoding& encoding, std::span<std::byte> target);

  const Rotation& rotation_;
  std::uint32_t head_dim_;
  std::uint32_t padded_dim_;
  std::vector<float> residual_;      ///< [128, head_dim], rotated, mean subtracted
  std::vector<float> centred_;       ///< scratch of subtract_mean
  std::vector<double> sums_;         ///< likewise, [head_dim]
  std::vector<std::uint8_t> quad_;   ///< scratch of write, [padded_dim, 4]
  std::vector<Half> mean_;           ///< [padded_dim]
  std::vector<Half> scale_;          ///< [128]
  std::vector<std::uint8_t> codes_;  ///< [128, padded_dim]
};

}  // namespace kvault
