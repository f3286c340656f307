#include "tools/model/chat.hpp"

#include <algorithm>
#include <cstddef>

#include "core/base/assert.hpp"

namespace kvault::tools {
namespace {

/// Runs `tokens` in chunks; with `logits`, those of the last token. Then tokens is empty.
Result<> feed(const Model& model, AttentionPort& attention, const TurnOptions& options,
              std::vector<std::uint32_t>& tokens, std::span<float> logits) {
  const std::size_t chunk = std::max(1U, options.chunk);
  for (std::size_t first = 0; first < tokens.size(); first += chunk) {
    const std::size_t n = std::min(chunk, tokens.size() - first);
    const bool is_last = first + n == tokens.size();
    const std::span<float> wanted = is_last ? logits : std::span<float>();
    KVAULT_CHECK(model.forward(std::span(tokens).subspan(first, n), attention,
                               wanted.empty() ? 0 : 1, wanted));
    if (options.on_progress) KVAULT_CHECK(options.on_progress(attention.n_token()));
  }
  tokens.clear();
  return {};
}

}  // namespace

std::uint64_t Turn::n_token() const {
  std::uint64_t n = context.size();
  for (const Question& question : questions) n += question.prompt.size() + 1;
  return n;
}

Result<std::vector<std::uint32_t>> run_turn(const Model& model, AttentionPort& attention,
                                            const Turn& turn, const TurnOptions& options) {
  if (!options.forced.empty() && options.forced.size() != turn.questions.size()) {
    return fail(Errc::shape_mismatch, message(options.forced.size(), " forced tokens for ",
                                              turn.questions.size(), " questions"));
  }
  std::vector<std::uint32_t> all = turn.context;
  std::vector<std::uint32_t> pending = turn.context;
  std::vector<float> logits(model.n_vocab());
  for (std::size_t i = 0; i < turn.questions.size(); ++i) {
    const Question& question = turn.questions[i];
    all.insert(all.end(), question.prompt.begin(), question.prompt.end());
    pending.insert(pending.end(), question.prompt.begin(), question.prompt.end());
    if (pending.empty()) return fail(Errc::invalid_argument, "a question without any token");
    KVAULT_CHECK(feed(model, attention, options, pending, logits));
    const auto best = std::max_element(logits.begin(), logits.end());
    Reply reply{.position = attention.n_token(),
                .token = static_cast<std::uint32_t>(best - logits.begin()),
                .answer = question.answer,
                .logits = logits};
    reply.likeliest = reply.token;
    if (!options.forced.empty()) reply.token = options.forced[i];
    if (options.on_reply) KVAULT_CHECK(options.on_reply(reply));
    all.push_back(reply.token);
    pending.push_back(reply.token);
  }
  KVAULT_CHECK(feed(model, attention, options, pending, {}));
  KVAULT_ASSERT(all.size() == turn.n_token());
  return all;
}

}  // namespace kvault::tools
