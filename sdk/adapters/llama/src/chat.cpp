#include "sdk/adapters/llama/src/chat.hpp"

#include <algorithm>

namespace kvault::llama {

Result<std::unique_ptr<Chat>> Chat::open(ChatOptions options) {
  std::unique_ptr<Chat> chat(new Chat(std::move(options)));
  KVAULT_CHECK(chat->reopen());
  if (!chat->session_ && !chat->options_.create) {
    return fail(Errc::not_found, message("there is no session ", chat->name()));
  }
  return chat;
}

/// Opens the session where it is not open; nothing happens where there is none.
Result<> Chat::reopen() {
  if (session_) return {};
  KVAULT_TRY(std::optional<ChatSession> session, ChatSession::open(options_.place));
  tokens_.clear();
  shifted_from_ = UINT64_MAX;
  is_rolled_back_ = false;
  if (!session) return {};
  KVAULT_TRY(shifted_from_, session->first_shifted());
  KVAULT_TRY(tokens_, session->tokens());
  session_ = std::move(session);
  return {};
}

Result<std::span<const std::int32_t>> Chat::tokens() {
  KVAULT_CHECK(reopen());
  return std::span<const std::int32_t>(tokens_);
}

}  // namespace kvault::llama
