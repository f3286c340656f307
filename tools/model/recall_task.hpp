#pragma once

#include <cstdint>
#include <vector>

#include "core/base/result.hpp"
#include "tools/model/chat.hpp"

namespace kvault::tools {

/// The recall model's exercise: turns of (key, value) pairs followed by look-ups of earlier keys.
struct RecallTaskOptions {
  std::uint64_t n_token = 8192;   ///< of the whole chat, look-ups included; even
  std::uint32_t n_context = 512;  ///< tokens of pairs per turn; even
  std::uint32_t n_question = 8;   ///< look-ups per turn
  std::uint64_t seed = 1;
};

/// The turns, n_token tokens in all; the last one may be shorter. No key is told or asked twice,
/// and the members of a key's family are told close to it. Errc::invalid_argument or
/// limit_exceeded where the vocabulary has too few keys.
Result<std::vector<Turn>> make_recall_turns(const RecallTaskOptions& options);

}  // namespace kvault::tools
