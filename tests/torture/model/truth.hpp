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
  bool has_windows = true;  ///< of a page: rows of its sliding windows too
  std::uint64_t age = 0;    ///< the higher, the later it came to the session or those it came from
};

/// What a session must be, written down without looking at the store.
struct SessionTruth {
  std::optional<SessionId> id;  ///< unknown where its creation was never acknowledged
  SessionDescription description;
  std::uint64_t commit_number = 0;
  std::vector<std::uint32_t> tokens;
  std::uint64_t n_page = 0;
  std::vector<RecordTruth> records;  ///< by kind, then first token
  SessionAttributes attributes{};

  std::uint64_t n_token() const { return tokens.size(); }
  bool is_recurrent() const { return has_recurrent_layers(description.shape); }
  /// Its time is up. Steps that end a session so name a moment long ago, else none that comes soon.
  bool is_over() const {
    constexpr std::uint64_t kNotLongAgo = 1'000'000'000;  // seconds since 1970
    return attributes.expires_at_s > 0 && attributes.expires_at_s < kNotLongAgo;
  }
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

/// Where a session can be forked: at the newest position at or below n_token that its layers can go
/// on from (docs/decisions/0003-kept-positions.md), found by trying one after the other.
struct KeptTruth {
  std::uint64_t n_token = 0;
  std::uint64_t n_page = 0;
};
KeptTruth kept_at(const SessionTruth& session, std::uint64_t n_token);
/// A fork at a position that kept_at() gave.
SessionTruth fork_of(const SessionTruth& source, KeptTruth kept, std::string name);

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
