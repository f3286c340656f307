#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/torture/model/served.hpp"
#include "tests/torture/model/upload.hpp"

namespace kvault::torture {

/// A record that is part of a session, as its maker knows it.
struct RecordTruth {
  RecordKind kind = RecordKind::page;
  std::uint64_t first_token = 0;
  std::uint32_t n_token = 0;  ///< after rollbacks; token_ids holds what was stored
  std::vector<std::uint32_t> token_ids{};
  std::uint64_t payload_checksum = 0;
  std::uint64_t commit_number = 0;  ///< that brought it
};

/// What a session must be, written down without looking at the store.
struct SessionTruth {
  std::optional<SessionId> id;  ///< unknown where its creation was never acknowledged
  SessionDescription description;
  std::uint64_t commit_number = 0;
  std::vector<std::uint32_t> tokens;
  std::uint64_t n_page = 0;
  std::vector<RecordTruth> records;  ///< by kind, then first token

  std::uint64_t n_token() const { return tokens.size(); }
  bool is_recurrent() const { return has_recurrent_layers(description.shape); }
};

/// A step from one truth to the next, as the store's CommitRequest puts it.
struct CommitPlan {
  std::uint64_t expected_commit_number = 0;
  std::uint64_t kept_n_token = 0;
  std::uint64_t kept_n_page = 0;
  std::vector<std::uint32_t> new_tokens{};
  std::vector<Upload> uploads{};
  std::uint64_t n_token() const { return kept_n_token + new_tokens.size(); }
};

/// The truth after an acknowledged commit, or the code with which it must be refused.
struct Outcome {
  std::optional<SessionTruth> after{};
  Errc refusal = Errc::internal;
};
Outcome predict(const SessionTruth& before, const CommitPlan& plan);

/// How far what is served is from a truth.
enum class Difference : std::uint8_t {
  none,
  lost,   ///< an older state, or records that cannot be read
  wrong,  ///< other bytes, tokens or numbers, and every check passed
};
struct Comparison {
  Difference difference = Difference::none;
  std::string sentence;
};
Comparison compare(const SessionTruth& truth, const ServedSession& served);

}  // namespace kvault::torture
