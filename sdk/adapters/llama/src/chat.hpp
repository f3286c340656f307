#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sdk/adapters/llama/include/kvault/kvault_llama.h"
#include "sdk/adapters/llama/src/chat_session.hpp"
#include "sdk/adapters/llama/src/sequence.hpp"

namespace kvault::llama {

struct ChatOptions {
  SessionPlace place;
  bool create = false;
  kvault_scheme key_scheme = KVAULT_RAW;
  kvault_scheme value_scheme = KVAULT_RAW;
};

/// A state on its way into a session: whose tokens it holds, sorted by position.
struct IncomingState {
  State state;
  std::uint64_t first_token = 0;  ///< index of its first token in the chat
  std::uint64_t end_token = 0;
  std::size_t state_bytes = 0;
  Blob blob;  ///< that `state` borrows from, where it was read from a context
  std::vector<std::uint32_t> order;         ///< [token - first_token] -> cell of the full cache
  std::vector<std::int64_t> sliding_order;  ///< the same of the sliding cache; -1: not there

  /// pre: the state has attention
  const Cell& cell(std::uint64_t token) const {
    return state.kv[0].cells[order[token - first_token]];
  }
};
/// Sorts and checks. first_token, end_token: what it must hold. Errc::shape_mismatch where it
/// is another number of tokens.
Result<IncomingState> sort_state(State state, std::uint64_t first_token, std::uint64_t end_token);

/// Rows of one layer and side as the session keeps them. [n][session row]
/// pre: check_convertible(format of `rows`, format of the layout)
std::vector<std::byte> stored_rows(const ChatShape& shape, std::uint32_t layer, kvault_side side,
                                   const IncomingState& incoming, const Rotation& rotation,
                                   std::uint64_t first, std::uint64_t n);

/// What make_state writes for.
struct TargetFormat {
  bool is_file = false;
  std::int32_t seq_id = 0;
  std::uint32_t n_stream = 1;
  bool is_transposed = false;
  RowFormat key;
  RowFormat value;
};

/// Tokens [first, first + n) of a session.
struct Stretch {
  std::uint64_t first = 0;
  std::uint64_t n = 0;
};

/// The state of a session's first n_token tokens for a context. Errc::not_found where a window's
/// rows are gone. tokens: for a file.
Result<Blob> make_state(ChatSession& session, const TargetFormat& target, std::uint64_t n_token,
                        std::span<const std::int32_t> tokens);
/// The state of some tokens alone, in the memory of a state that is done with.
/// pre: the session is plain, the target no file
Result<Blob> make_part(ChatSession& session, const TargetFormat& target, const Stretch& stretch,
                       Blob memory);
/// A state of one token of zeros: what a context refuses or takes by its types alone.
Result<Blob> make_probe(ChatSession& session, const TargetFormat& target);

/// What is known of a context's caches; -1: not.
struct KnownFormat {
  std::int32_t type_k = -1;
  std::int32_t type_v = -1;
  std::int32_t transposed = -1;
};

/// The session of this model that begins most like these tokens.
Result<kvault_match> find_match(kvault_client* client, const Model& model,
                                std::span<const std::int32_t> tokens);

/// A chat: a session that begins to exist with its first save. One thread at a time.
class Chat {
 public:
  static Result<std::unique_ptr<Chat>> open(ChatOptions options);

  const std::string& name() const { return options_.place.name; }
  Result<std::span<const std::int32_t>> tokens();
  Result<kvault_llama_save_info> save(const Sequence& sequence,
                                      std::span<const std::int32_t> tokens);
  Result<kvault_llama_save_info> save_state(std::span<const std::byte> bytes,
                                            std::span<const std::int32_t> tokens);
  /// tokens without value: all that is saved.
  Result<kvault_llama_resume_info> resume(const Sequence& sequence,
                                          std::optional<std::span<const std::int32_t>> tokens);
  /// The state stays in made_state().
  Result<kvault_llama_resume_info> make(const kvault_llama_target& target,
                                        std::optional<std::span<const std::int32_t>> tokens);
  std::span<const std::byte> made_state() const { return made_state_.bytes(); }

 private:
  explicit Chat(ChatOptions options) : options_(std::move(options)) {}

  Result<> reopen();
  Result<ChatSession*> session();
  ExpectedState expected_state() const;
  Rotation rotation(const GgmlType& key, const GgmlType& value, std::int32_t rotates) const;
  Result<> begin(const IncomingState& incoming, const Rotation& rotation);
  Result<kvault_llama_save_info> take(const IncomingState& incoming,
                                      std::span<const std::int32_t> tokens, std::int32_t rotates);
  Result<IncomingState> read(const Sequence& sequence, std::uint64_t n_token,
                             std::uint64_t first) const;
  bool is_part_of(const IncomingState& part, std::size_t part_bytes, std::size_t whole_bytes) const;
  Result<std::uint64_t> first_better_window(const IncomingState& incoming, std::uint64_t n_kept);
  Result<> check_fits(const IncomingState& incoming, const Rotation& rotation) const;
  Result<kvault_llama_save_info> put(const IncomingState& incoming,
                                     std::span<const std::int32_t> tokens,
                                     const Rotation& rotation);
  std::uint64_t n_common(std::span<const std::int32_t> tokens) const;
  Result<> append(const IncomingState& incoming, std::span<const std::int32_t> tokens,
                  const Rotation& rotation, std::uint64_t first);
  /// What of an old chat can be gone on with, and where a shift begins.
  Result<std::uint64_t> find_gap(const IncomingState& incoming, std::uint64_t n_common);
  Result<bool> is_shifted(const IncomingState& incoming, std::span<const std::int32_t> tokens,
                          const Rotation& rotation, std::uint64_t n_common);
  Result<> begin_fork(std::uint64_t n_token);
  Result<std::uint64_t> reusable(std::optional<std::span<const std::int32_t>> tokens,
                                 kvault_llama_resume_info& info);
  Result<bool> fill(const Sequence& sequence, const TargetFormat& target, std::uint64_t n_token,
                    kvault_llama_resume_info& info);
  Result<bool> fill_parts(const Sequence& sequence, const TargetFormat& target,
                          std::uint64_t n_token, kvault_llama_resume_info& info);
  bool is_verbatim(const TargetFormat& target) const;
  Result<std::uint64_t> last_whole_window(std::uint64_t n_token);
  Result<TargetFormat> find_target(const Sequence& sequence);
  Result<TargetFormat> probe(const Sequence& sequence, TargetFormat target,
                             const KnownFormat& known);

  ChatOptions options_;
  std::optional<ChatSession> session_;
  std::vector<std::int32_t> tokens_;  ///< of session_, as saved
  /// From here on tokens were computed before a shift: nothing is shared of them.
  std::uint64_t shifted_from_ = UINT64_MAX;
  bool is_rolled_back_ = false;  ///< session_ by a resume, and nothing was saved since
  Blob made_state_;
};

}  // namespace kvault::llama
