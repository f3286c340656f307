#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "kvault/kvault.hpp"
#include "tools/model/attention_port.hpp"

namespace kvault::tools {

/// A language model whose only memory is an AttentionPort. Its weights never change, a forward
/// uses no other state, and the same calls give the same bits. One thread at a time.
class Model {
 public:
  Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;
  virtual ~Model() = default;

  virtual std::string name() const = 0;
  /// Its layers; every scheme is KVAULT_RAW, to be set by the caller.
  virtual std::span<const kvault_layer> layers() const = 0;
  /// What makes its saved states its own: weights hash, vocabulary, rope.
  virtual std::span<const sdk::IdentityField> identity() const = 0;
  virtual std::uint32_t n_vocab() const = 0;

  /// Runs `tokens` at the positions from attention.n_token() on. logits: [n_logit][n_vocab], of the
  /// last n_logit tokens; n_logit <= tokens.size().
  virtual Result<> forward(std::span<const std::uint32_t> tokens, AttentionPort& attention,
                           std::uint32_t n_logit, std::span<float> logits) const = 0;
};

/// Errc::invalid_argument, shape_mismatch or out_of_range unless the arguments of a forward fit.
Result<> check_forward(const Model& model, std::span<const std::uint32_t> tokens,
                       std::uint32_t n_logit, std::span<const float> logits);

/// The model's layers with the schemes of a preset's name.
Result<std::vector<kvault_layer>> layers_with_preset(const Model& model, const std::string& preset);

}  // namespace kvault::tools
