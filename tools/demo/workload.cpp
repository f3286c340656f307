#include "tools/demo/workload.hpp"

#include <algorithm>
#include <span>

#include "tools/model/fineweb.hpp"
#include "tools/model/recall.hpp"
#include "tools/model/recall_task.hpp"

namespace kvault::tools {
namespace {

constexpr std::uint64_t kRecallTokens = 8192;
constexpr std::uint64_t kTextTokens = 2048;
/// A turn of text: so many tokens are read, then so many are generated.
constexpr std::uint64_t kTextContext = 240;
constexpr std::uint64_t kTextReplies = 16;

/// Turns of n_token tokens in all, of `text` and of what the model makes of it.
Result<std::vector<Turn>> make_text_turns(std::span<const std::uint32_t> text,
                                          std::uint64_t n_token) {
  std::vector<Turn> turns;
  std::size_t n_read = 0;
  std::uint64_t left = n_token;
  while (left > 0) {
    const std::uint64_t n_reply = std::min(kTextReplies, left - 1);
    const std::uint64_t n_context = std::min(kTextContext, left - n_reply);
    if (n_read + n_context > text.size()) {
      return fail(Errc::limit_exceeded,
                  message(n_token, " tokens take more text than the ", text.size(), " there are"));
    }
    Turn turn;
    const std::span<const std::uint32_t> part = text.subspan(n_read, n_context);
    turn.context.assign(part.begin(), part.end());
    turn.questions.resize(n_reply);
    n_read += n_context;
    left -= turn.n_token();
    turns.push_back(std::move(turn));
  }
  return turns;
}

}  // namespace

Result<Workload> Workload::create(const WorkloadOptions& options) {
  Workload workload;
  workload.device = options.device;
  if (options.model_directory.empty()) {
    workload.model = RecallModel::create();
    const std::uint64_t n_token = options.n_token == 0 ? kRecallTokens : options.n_token;
    KVAULT_TRY(workload.turns, make_recall_turns({.n_token = n_token}));
  } else {
    KVAULT_TRY(workload.model, FinewebModel::open(options.model_directory));
    KVAULT_TRY(const std::vector<std::uint32_t> text, read_tokens(options.model_directory));
    const std::uint64_t n_token = options.n_token == 0 ? kTextTokens : options.n_token;
    KVAULT_TRY(workload.turns, make_text_turns(text, n_token));
  }
  KVAULT_TRY(workload.layers, layers_with_preset(*workload.model, options.preset));
  return workload;
}

std::uint64_t Workload::n_token() const {
  std::uint64_t n = 0;
  for (const Turn& turn : turns) n += turn.n_token();
  return n;
}

std::uint64_t Workload::n_question(std::size_t n_turn) const {
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < n_turn; ++i) n += turns[i].questions.size();
  return n;
}

Result<std::size_t> Workload::n_turn_at(std::uint64_t n_token) const {
  std::uint64_t n = 0;
  std::size_t n_turn = 0;
  while (n_turn < turns.size() && n < n_token) n += turns[n_turn++].n_token();
  if (n == n_token) return n_turn;
  return fail(Errc::incomplete,
              message("the session has ", n_token, " tokens, which is not where a turn ends"));
}

sdk::CacheOptions Workload::cache_options() const {
  return sdk::CacheOptions{.layers = layers, .device = device};
}

}  // namespace kvault::tools
