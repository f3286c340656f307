#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "tools/model/model.hpp"
#include "tools/model/safetensors.hpp"

namespace kvault::tools {

/// A small real language model: 6 blocks run twice, grouped-query attention with RoPE, QK
/// normalisation, skips between the two passes. Reads a directory with model.safetensors and
/// tokens.bin, whose README says what the forward pass is.
class FinewebModel final : public Model {
 public:
  static constexpr std::uint32_t kBlocks = 6;
  static constexpr std::uint32_t kLayers = 12;
  static constexpr std::uint32_t kWidth = 512;
  static constexpr std::uint32_t kHidden = 1024;
  static constexpr std::uint32_t kHeads = 8;
  static constexpr std::uint32_t kKvHeads = 4;
  static constexpr std::uint32_t kHeadDim = 64;
  static constexpr std::uint32_t kVocab = 1024;

  static Result<std::unique_ptr<FinewebModel>> open(const std::filesystem::path& directory);

  std::string name() const override { return "fineweb-hd64"; }
  std::span<const kvault_layer> layers() const override { return layers_; }
  std::span<const sdk::IdentityField> identity() const override { return identity_; }
  std::uint32_t n_vocab() const override { return kVocab; }
  /// The attention weights of an effective layer, [out][kWidth], and what multiplies what they
  /// give.
  struct AttentionWeights {
    std::span<const float> q;           ///< [kHeads * kHeadDim][kWidth]
    std::span<const float> k;           ///< [kKvHeads * kHeadDim][kWidth]
    std::span<const float> proj;        ///< [kWidth][kHeads * kHeadDim]
    std::span<const float> q_gain;      ///< [kHeads]
    std::span<const float> attn_scale;  ///< [kWidth], of proj's rows
  };
  /// pre: layer < kLayers
  AttentionWeights attention_weights(std::uint32_t layer) const;
  Result<> forward(std::span<const std::uint32_t> tokens, AttentionPort& attention,
                   std::uint32_t n_logit, std::span<float> logits) const override;

 private:
  struct Block {
    std::vector<float> q;           ///< [kHeads * kHeadDim][kWidth]
    std::vector<float> k;           ///< [kKvHeads * kHeadDim][kWidth]
    std::vector<float> v;           ///< [kKvHeads * kHeadDim][kWidth]
    std::vector<float> proj;        ///< [kWidth][kWidth]
    std::vector<float> q_gain;      ///< [kHeads]
    std::vector<float> attn_scale;  ///< [kWidth]
    std::vector<float> mlp_scale;   ///< [kWidth]
    std::vector<float> resid_mix;   ///< [2][kWidth]
    std::vector<float> fc;          ///< [kHidden][kWidth]
    std::vector<float> mlp_proj;    ///< [kWidth][kHidden]
  };
  /// The residual stream and where the tokens stand.
  struct Stream;

  FinewebModel() = default;
  Result<> read_weights(const Safetensors& file);
  Result<> attend(std::uint32_t layer, Stream& stream, AttentionPort& attention) const;
  void run_mlp(const Block& block, Stream& stream) const;

  std::vector<float> embedding_;      ///< [kVocab][kWidth]
  std::vector<float> skip_weights_;   ///< [kBlocks][kWidth]
  std::vector<float> repeat_scales_;  ///< [kLayers][kWidth]
  std::vector<float> repeat_shifts_;  ///< [kLayers][kWidth]
  std::vector<Block> blocks_;
  std::vector<kvault_layer> layers_;
  std::vector<sdk::IdentityField> identity_;
};

/// The text beside the model: tokens.bin, 16-bit little-endian ids.
Result<std::vector<std::uint32_t>> read_tokens(const std::filesystem::path& directory);

}  // namespace kvault::tools
