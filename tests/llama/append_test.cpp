#include <doctest/doctest.h>

#include "tests/llama/support/kept_chat.hpp"
#include "tests/llama/support/tiny_model.hpp"

// Turn after turn: only what is new is copied and written; edits and shifts are told apart.

using namespace kvault::test;

namespace {

/// A model in a vault, and a context that has decoded some of it.
struct Desk {
  explicit Desk(const Llama& llama, const TinyModel& tiny) {
    tiny.write(vault.path() / "model.gguf", {});
    model.emplace(llama, vault.path() / "model.gguf");
    file.emplace(vault.path() / "model.gguf");
  }
  Vault vault;
  std::optional<LlamaModel> model;
  std::optional<ModelFile> file;
};

std::vector<std::int32_t> slice(const std::vector<std::int32_t>& tokens, std::size_t first,
                                std::size_t last) {
  return {tokens.begin() + static_cast<std::ptrdiff_t>(first),
          tokens.begin() + static_cast<std::ptrdiff_t>(last)};
}

std::vector<kvault_session_info> sessions_of(const Vault& vault) {
  std::vector<kvault_session_info> sessions;
  const auto visit = [](const kvault_session_info* info, void* user) -> int {
    static_cast<std::vector<kvault_session_info>*>(user)->push_back(*info);
    return 1;
  };
  REQUIRE(kvault_client_list(vault.client(), visit, &sessions, nullptr) == KVAULT_OK);
  return sessions;
}

TEST_CASE("Each turn copies and writes its own tokens, and the whole is what it would be at once") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  for (const TinyModel& tiny : tiny_models()) {
    CAPTURE(tiny.name);
    Desk desk(*llama, tiny);
    const std::vector<std::int32_t> tokens = random_tokens(700, 21);
    LlamaContext context(*desk.model, {});
    KeptChat chat(desk.vault, *desk.file, *llama, "chat");
    std::size_t saved = 0;
    for (const std::size_t end : {250U, 350U, 351U, 600U, 700U}) {
      static_cast<void>(context.decode(slice(tokens, saved, end)));
      const auto info = chat.save(context.sequence(1), slice(tokens, 0, end));
      CHECK(info.way == KVAULT_LLAMA_APPENDED);
      CHECK(info.n_token == end);
      CHECK(info.n_token_kept == saved);
      if (tiny.has_attention && saved > 0) {
        // What was copied is the new tokens' share of the state, not all of it.
        const std::size_t whole = context.state().size();
        CHECK(info.copied_bytes < whole * (end - saved) / end + whole / 2);
      }
      saved = end;
    }
    CHECK(chat.save(context.sequence(1), tokens).way == KVAULT_LLAMA_NOTHING);
    LlamaContext fresh(*desk.model, {});
    std::vector<std::int32_t> prompt = tokens;
    prompt.push_back(90);
    const auto resumed = chat.resume(fresh.sequence(), prompt);
    CHECK(resumed.n_token_reused == tokens.size());
    // The session is open since before the first of the saves; what it takes is as of the last.
    REQUIRE(sessions_of(desk.vault).size() == 1);
    CHECK(resumed.stored_bytes == sessions_of(desk.vault)[0].stored_size_bytes);
    if (!tiny.slides) {
      CHECK(fresh.state() == context.state());
      CHECK(max_difference(context.decode({90}), fresh.decode({90})) == 0);
    } else {
      CHECK(max_difference(context.decode({90}), fresh.decode({90})) < 0.05F);
    }
  }
}

TEST_CASE("An edited end takes the place of the old one, a fork keeps it") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  for (const TinyModel& tiny : tiny_models()) {
    CAPTURE(tiny.name);
    Desk desk(*llama, tiny);
    const std::vector<std::int32_t> tokens = random_tokens(500, 22);
    LlamaContext context(*desk.model, {});
    KeptChat chat(desk.vault, *desk.file, *llama, "chat");
    static_cast<void>(context.decode(tokens));
    chat.save(context.sequence(1), tokens);
    REQUIRE(desk.vault.connection().fork("chat", "the old end").is_ok());

    std::vector<std::int32_t> edited = slice(tokens, 0, 430);
    for (std::int32_t i = 0; i < 60; ++i) edited.push_back(100 + i);
    LlamaContext other(*desk.model, {});
    static_cast<void>(other.decode(edited));
    const auto info = chat.save(other.sequence(1), edited);
    CHECK(info.way == KVAULT_LLAMA_REPLACED);
    CHECK(info.n_token_kept <= 430);
    CHECK(chat.name() == "chat");
    CHECK(chat.tokens() == edited);

    KeptChat old(desk.vault, *desk.file, *llama, "the old end");
    CHECK(old.tokens() == tokens);
    for (auto* const pair : {&chat, &old}) {
      const bool is_old = pair == &old;
      CAPTURE(is_old);
      LlamaContext& truth = is_old ? context : other;
      LlamaContext fresh(*desk.model, {});
      std::vector<std::int32_t> prompt = is_old ? tokens : edited;
      prompt.push_back(90);
      CHECK(pair->resume(fresh.sequence(), prompt).n_token_reused == prompt.size() - 1);
      const float difference = max_difference(truth.decode({90}), fresh.decode({90}));
      CHECK(difference <= (tiny.slides ? 0.05F : 0.0F));
    }
  }
}

TEST_CASE("A recurrent chat goes on where a save ended, and a shorter prompt takes nothing away") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  for (const TinyModel& tiny : tiny_models()) {
    if (!tiny.is_recurrent) continue;
    CAPTURE(tiny.name);
    Desk desk(*llama, tiny);
    const std::vector<std::int32_t> tokens = random_tokens(300, 26);
    LlamaContext context(*desk.model, {});
    KeptChat chat(desk.vault, *desk.file, *llama, "chat");
    static_cast<void>(context.decode(slice(tokens, 0, 200)));
    chat.save(context.sequence(1), slice(tokens, 0, 200));
    static_cast<void>(context.decode(slice(tokens, 200, 300)));
    chat.save(context.sequence(1), tokens);
    std::vector<std::int32_t> longer = tokens;
    longer.push_back(90);
    LlamaContext fresh(*desk.model, {});
    const auto early = chat.resume(fresh.sequence(), slice(tokens, 0, 250));
    CHECK((early.n_token_reused == 200 || early.n_token_reused == 0));
    CHECK(early.n_token_reused + early.n_token_to_decode == 250);
    MESSAGE(tiny.name << ": " << early.n_token_reused << " of 250 reused");
    static_cast<void>(fresh.decode(slice(tokens, early.n_token_reused, 250)));
    CHECK(chat.resume(fresh.sequence(), longer).n_token_reused == 300);
    CHECK(max_difference(context.decode({90}), fresh.decode({90})) == 0);
  }
}

TEST_CASE("A shifted context goes on in a fork, and its past stays as it was") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  Desk desk(*llama, tiny_models()[0]);
  const std::vector<std::int32_t> tokens = random_tokens(600, 23);
  for (const char* preset : {"raw", "k4v4"}) {
    CAPTURE(preset);
    LlamaContext context(*desk.model, {});
    static_cast<void>(context.decode(tokens));
    const std::string name = std::string("chat ") + preset;
    {
      KeptChat chat(desk.vault, *desk.file, *llama, name, preset);
      chat.save(context.sequence(1), tokens);
      // As apps make room: the first 50 stay, 200 go, the rest moves up.
      llama->functions.memory_seq_rm(context.memory(), 0, 50, 250);
      llama->memory_seq_add(context.memory(), 0, 250, -1, -200);
      static_cast<void>(context.decode({90, 91}));
      std::vector<std::int32_t> left = slice(tokens, 0, 50);
      left.insert(left.end(), tokens.begin() + 250, tokens.end());
      left.push_back(90);
      left.push_back(91);
      const auto info = chat.save(context.sequence(1), left);
      CHECK(info.way == KVAULT_LLAMA_FORKED);
      CHECK(info.n_token_kept <= 50);
      CHECK(chat.name() == name + " (shifted 1)");
      CHECK(chat.tokens() == left);

      LlamaContext fresh(*desk.model, {});
      left.push_back(92);
      CHECK(chat.resume(fresh.sequence(), left).n_token_reused == left.size() - 1);
      const float difference = max_difference(context.decode({92}), fresh.decode({92}));
      // Sorted by position now, which the shifted context's cells are not: sums in another order.
      if (std::string(preset) == "raw") CHECK(difference < 0.02F);
      // No prompt is ever given these rows for its own.
      kvault_match match{};
      kvault_error error{};
      REQUIRE(kvault_llama_match(desk.vault.client(), desk.file->handle(), left.data(), left.size(),
                                 &match, &error) == KVAULT_OK);
      CHECK(match.kept.n_token <= 50);
    }
    KeptChat past(desk.vault, *desk.file, *llama, name, preset);
    CHECK(past.tokens() == tokens);
  }
}

TEST_CASE("A sequence with a hole, or ids that are not its own, is never joined with the past") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  Desk desk(*llama, tiny_models()[0]);
  const std::vector<std::int32_t> tokens = random_tokens(400, 24);
  LlamaContext context(*desk.model, {});
  static_cast<void>(context.decode(tokens));
  KeptChat chat(desk.vault, *desk.file, *llama, "chat");
  chat.save(context.sequence(1), tokens);
  llama->functions.memory_seq_rm(context.memory(), 0, 100, 150);
  kvault_llama_sequence sequence = context.sequence(1);
  kvault_error error{};
  CHECK(kvault_llama_save(chat.handle(), &sequence, tokens.data(), tokens.size(), nullptr,
                          &error) == KVAULT_SHAPE_MISMATCH);
  std::vector<std::int32_t> more = tokens;
  more.push_back(90);
  static_cast<void>(context.decode({90}));
  CHECK(kvault_llama_save(chat.handle(), &sequence, more.data(), more.size(), nullptr, &error) ==
        KVAULT_SHAPE_MISMATCH);
  CHECK(std::string(error.message).find("351 tokens") != std::string::npos);
  CHECK(chat.tokens() == tokens);

  std::vector<std::int32_t> left = slice(tokens, 0, 100);
  left.insert(left.end(), tokens.begin() + 150, tokens.end());
  left.push_back(90);
  const auto info = chat.save(sequence, left);
  CHECK(info.way == KVAULT_LLAMA_FORKED);
  CHECK(info.n_token_kept <= 100);
  LlamaContext fresh(*desk.model, {});
  left.push_back(91);
  CHECK(chat.resume(fresh.sequence(), left).n_token_reused == left.size() - 1);
  CHECK(max_difference(context.decode({91}), fresh.decode({91})) < 0.02F);
}

TEST_CASE("A first save that is cancelled leaves no session, a later one the chat as it was") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  Desk desk(*llama, tiny_models()[0]);
  const std::vector<std::int32_t> tokens = random_tokens(600, 27);
  LlamaContext context(*desk.model, {});
  static_cast<void>(context.decode(slice(tokens, 0, 400)));
  bool goes_on = false;
  const auto progress = [](std::uint64_t, std::uint64_t, void* user) -> int {
    return *static_cast<const bool*>(user) ? 1 : 0;
  };
  KeptChat chat(desk.vault, *desk.file, *llama, "chat", "k4v4", progress, &goes_on);
  const auto save = [&](std::size_t n) {
    const kvault_llama_sequence sequence = context.sequence(1);
    kvault_error error{};
    return kvault_llama_save(chat.handle(), &sequence, tokens.data(), n, nullptr, &error);
  };
  CHECK(save(400) == KVAULT_CANCELLED);
  CHECK(sessions_of(desk.vault).empty());
  goes_on = true;
  CHECK(save(400) == KVAULT_OK);
  static_cast<void>(context.decode(slice(tokens, 400, 600)));
  goes_on = false;
  CHECK(save(600) == KVAULT_CANCELLED);
  CHECK(sessions_of(desk.vault).size() == 1);
  CHECK(chat.tokens() == slice(tokens, 0, 400));
  goes_on = true;
  CHECK(save(600) == KVAULT_OK);
  CHECK(chat.tokens() == tokens);
}

TEST_CASE("A prompt that begins like a saved chat is given its beginning") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  Desk desk(*llama, tiny_models()[0]);
  const std::vector<std::int32_t> tokens = random_tokens(500, 25);
  LlamaContext context(*desk.model, {});
  static_cast<void>(context.decode(tokens));
  KeptChat chat(desk.vault, *desk.file, *llama, "chat");
  chat.save(context.sequence(1), tokens);
  std::vector<std::int32_t> prompt = slice(tokens, 0, 300);
  prompt.push_back(90);
  kvault_match match{};
  kvault_error error{};
  REQUIRE(kvault_llama_match(desk.vault.client(), desk.file->handle(), prompt.data(), prompt.size(),
                             &match, &error) == KVAULT_OK);
  CHECK(match.found == 1);
  CHECK(match.n_token == 300);
  REQUIRE(desk.vault.connection().fork("chat", "new", match.n_token).is_ok());
  KeptChat fork(desk.vault, *desk.file, *llama, "new");
  LlamaContext fresh(*desk.model, {});
  const auto info = fork.resume(fresh.sequence(), prompt);
  CHECK(info.n_token_reused == match.kept.n_token);
  CHECK(info.n_token_reused + info.n_token_to_decode == prompt.size());
}

}  // namespace
