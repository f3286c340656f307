#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "tools/model/model.hpp"

namespace kvault::tools {

/// Words put to the model, and the one it should answer with, where that is known.
struct Question {
  std::vector<std::uint32_t> prompt;
  std::optional<std::uint32_t> answer;
};

/// What is added to a chat at once: some context, then questions. Each question costs its prompt
/// and one generated token.
struct Turn {
  std::vector<std::uint32_t> context;
  std::vector<Question> questions;

  std::uint64_t n_token() const;
};

/// A generated token and what the model thought.
struct Reply {
  std::uint64_t position = 0;   ///< of the token
  std::uint32_t token = 0;      ///< generated, or forced
  std::uint32_t likeliest = 0;  ///< what greedy decoding says
  std::optional<std::uint32_t> answer;
  std::span<const float> logits;  ///< [n_vocab], borrowed for the call
};

/// How a turn is run. An error of a callback ends the turn and is returned.
struct TurnOptions {
  std::uint32_t chunk = 128;  ///< tokens per forward
  /// Not empty: these tokens instead of generated ones, one per question.
  std::span<const std::uint32_t> forced = {};
  std::function<Result<>(const Reply&)> on_reply = {};
  std::function<Result<>(std::uint64_t n_token)> on_progress = {};  ///< after every forward
};

/// Runs a turn greedily at the end of what `attention` holds. Returns all its tokens in order:
/// context, prompts and generated ones. Which forwards are made depends on the turn's shape only.
Result<std::vector<std::uint32_t>> run_turn(const Model& model, AttentionPort& attention,
                                            const Turn& turn, const TurnOptions& options);

}  // namespace kvault::tools
