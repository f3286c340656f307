#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "tools/model/model.hpp"

namespace kvault::tools {

/// The words of the recall model: 0 begins a context, then come values, then keys. Keys and values
/// come in families of eight that resemble each other, so that telling members apart takes a
/// precise cache.
struct RecallVocabulary {
  static constexpr std::uint32_t kBegin = 0;
  static constexpr std::uint32_t kFamilySize = 8;
  static constexpr std::uint32_t kValues = 1024;
  static constexpr std::uint32_t kKeys = 16384;
  static constexpr std::uint32_t kWords = 1 + kValues + kKeys;

  /// pre: index < kValues, index < kKeys
  static constexpr std::uint32_t value_word(std::uint32_t index) { return 1 + index; }
  static constexpr std::uint32_t key_word(std::uint32_t index) { return 1 + kValues + index; }
};

/// The built-in model: a two-layer induction transformer whose weights are constructed, not
/// trained. After "k1 v1 k2 v2 ... k7" it says v7, exactly with an uncompressed cache.
///
/// The residual stream is [word | position | previous word | answer], 128 channels each. Layer 0
/// finds the previous position by its sines and copies the word there; layer 1 finds the position
/// whose previous word is the present one and copies the word there; logits compare the answer
/// with every word. Four query heads over two kv heads do the same in different random rotations
/// of their 128 dimensions and at different temperatures.
class RecallModel final : public Model {
 public:
  static constexpr std::uint32_t kHeadDim = 128;
  static constexpr std::uint32_t kHeads = 4;
  static constexpr std::uint32_t kKvHeads = 2;
  static constexpr std::uint32_t kLayers = 2;
  static constexpr std::uint32_t kWidth = 4 * kHeadDim;

  /// Computes the weights from `seed`; takes a fraction of a second.
  static std::unique_ptr<RecallModel> create(std::uint64_t seed = 1);

  std::string name() const override { return "recall"; }
  std::span<const kvault_layer> layers() const override { return layers_; }
  std::span<const sdk::IdentityField> identity() const override { return identity_; }
  std::uint32_t n_vocab() const override { return RecallVocabulary::kWords; }
  Result<> forward(std::span<const std::uint32_t> tokens, AttentionPort& attention,
                   std::uint32_t n_logit, std::span<float> logits) const override;

 private:
  /// Matrices [out][in].
  struct Layer {
    std::vector<float> query;   ///< [kHeads * kHeadDim][kWidth]
    std::vector<float> key;     ///< [kKvHeads * kHeadDim][kWidth]
    std::vector<float> value;   ///< [kKvHeads * kHeadDim][kWidth]
    std::vector<float> output;  ///< [kWidth][kHeads * kHeadDim]
  };

  RecallModel() = default;
  void build_words(std::uint64_t seed);
  void build_layers(std::uint64_t seed);
  void build_identity();
  std::vector<float> embed(std::span<const std::uint32_t> tokens, std::uint64_t position) const;

  std::vector<float> words_;         ///< [kWords][kHeadDim], unit vectors
  std::vector<double> frequencies_;  ///< [kHeadDim / 2], radians per position
  std::vector<Layer> weights_;       ///< [kLayers]
  std::vector<kvault_layer> layers_;
  std::vector<sdk::IdentityField> identity_;
};

}  // namespace kvault::tools
