#include <doctest/doctest.h>

#include "tests/llama/support/kept_chat.hpp"
#include "tests/llama/support/tiny_model.hpp"

// Saved by one context, resumed by another, with real llama.cpp. Logits are compared with those of
// the context that never stopped.

using namespace kvault::test;

namespace {

/// A context that llama.cpp itself has given the state to, in memory. Of a sliding window that is
/// the measure: its rows come to lie in other cells than in the context that never stopped, and
/// flash attention adds them up in another order.
std::unique_ptr<LlamaContext> copy_of(const LlamaModel& model, const LlamaContext& context) {
  auto copy = std::make_unique<LlamaContext>(model, ContextOptions{});
  const std::vector<std::byte> state = context.state();
  REQUIRE(model.llama().functions.state_seq_set_data(
              copy->handle(), reinterpret_cast<const std::uint8_t*>(state.data()), state.size(),
              0) == state.size());
  return copy;
}

TEST_CASE("A chat saved raw gives bit for bit the logits of the context that never stopped") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  for (const TinyModel& tiny : tiny_models()) {
    for (const std::size_t n : {5U, 300U, 900U}) {
      CAPTURE(tiny.name);
      CAPTURE(n);
      Vault vault;
      const auto path = vault.path() / "model.gguf";
      tiny.write(path, {});
      const LlamaModel model(*llama, path);
      const ModelFile file(path);
      const std::vector<std::int32_t> tokens = random_tokens(n, 7);
      LlamaContext context(model, {});
      static_cast<void>(context.decode(tokens));
      {
        KeptChat chat(vault, file, *llama, "chat");
        const kvault_llama_save_info saved = chat.save(context.sequence(), tokens);
        CHECK(saved.n_token == n);
        CHECK(saved.way == KVAULT_LLAMA_APPENDED);
      }
      vault.daemon().kill();
      Daemon again(vault.path());
      static_cast<void>(again.connect());
      vault.connect();

      KeptChat chat(vault, file, *llama, "chat");
      CHECK(chat.tokens() == tokens);
      LlamaContext fresh(model, {});
      std::unique_ptr<LlamaContext> reference;
      std::vector<float> expected;
      std::vector<float> resumed;
      if (tiny.is_recurrent) {
        // Nothing can be taken out of a recurrent state: both go on with a new token.
        std::vector<std::int32_t> prompt = tokens;
        prompt.push_back(77);
        const kvault_llama_resume_info info = chat.resume(fresh.sequence(), prompt);
        CHECK(info.n_token_reused == n);
        CHECK(info.n_token_to_decode == 1);
        CHECK(info.is_verbatim == 1);
        expected = context.decode({77});
        resumed = fresh.decode({77});
      } else {
        const kvault_llama_resume_info info = chat.resume(fresh.sequence(), tokens);
        CHECK(info.n_token_reused == n - 1);
        CHECK(info.n_token_to_decode == 1);
        CHECK(info.is_verbatim == 1);
        context.remove_last();
        if (tiny.slides) reference = copy_of(model, context);
        expected = (reference ? *reference : context).decode({tokens.back()});
        resumed = fresh.decode({tokens.back()});
      }
      CHECK(max_difference(expected, resumed) == 0);
      for (int i = 0; i < 5; ++i) {
        const std::vector<float> next = (reference ? *reference : context).decode({80 + i});
        CHECK(max_difference(next, fresh.decode({80 + i})) == 0);
      }
    }
  }
}

TEST_CASE("A resume in parts leaves the context as one at once does") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  Vault vault;
  const auto path = vault.path() / "model.gguf";
  write_plain(path, {.n_layer = 4, .head_dim = 128});
  const LlamaModel model(*llama, path);
  const ModelFile file(path);
  // 4 KiB a token, so that parts are of 512 tokens.
  const std::vector<std::int32_t> tokens = random_tokens(2500, 8);
  std::vector<std::int32_t> prompt = tokens;
  prompt.push_back(77);
  LlamaContext source(model, {.n_ctx = 2560});
  static_cast<void>(source.decode(tokens));
  for (const char* preset : {"raw", "k4v4"}) {
    const std::string name = preset;
    CAPTURE(name);
    KeptChat chat(vault, file, *llama, name, preset);
    chat.save(source.sequence(), tokens);
    for (const ContextOptions& options : {ContextOptions{.n_ctx = 2560},
                                          {.n_ctx = 2560, .flash_attention = false},
                                          {.n_ctx = 2560, .type_k = 8, .type_v = 8}}) {
      CAPTURE(options.flash_attention);
      CAPTURE(options.type_k);
      LlamaContext whole(model, options);
      LlamaContext parts(model, options);
      const auto at_once = chat.resume(whole.sequence(), prompt);
      const auto in_parts = chat.resume(parts.sequence(1), prompt);
      CHECK(in_parts.n_token_reused == tokens.size());
      CHECK(in_parts.state_bytes > at_once.state_bytes);  // three heads of states for one
      CHECK(parts.state() == whole.state());
      CHECK(llama->functions.memory_seq_pos_max(parts.memory(), 1) == -1);
      CHECK(max_difference(whole.decode({77}), parts.decode({77})) == 0);
      // Over what it holds by now.
      CHECK(chat.resume(parts.sequence(1), prompt).n_token_reused == tokens.size());
      CHECK(chat.resume(whole.sequence(), prompt).n_token_reused == tokens.size());
      CHECK(parts.state() == whole.state());
      if (name == "raw" && options.flash_attention && options.type_k == 1) {
        CHECK(parts.state() == source.state());
      }
    }
  }
}

TEST_CASE("A context that has no room for all parts is left with none") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  Vault vault;
  const auto path = vault.path() / "model.gguf";
  write_plain(path, {.n_layer = 4, .head_dim = 128});
  const LlamaModel model(*llama, path);
  const ModelFile file(path);
  const std::vector<std::int32_t> tokens = random_tokens(2500, 9);
  LlamaContext source(model, {.n_ctx = 2560});
  static_cast<void>(source.decode(tokens));
  KeptChat chat(vault, file, *llama, "chat");
  chat.save(source.sequence(), tokens);
  LlamaContext target(model, {.n_ctx = 2560, .n_seq_max = 3});
  static_cast<void>(target.decode(random_tokens(400, 10)));
  // What another sequence holds leaves room for four parts of five.
  llama->functions.memory_seq_cp(target.memory(), 0, 2, -1, -1);
  llama->functions.memory_seq_rm(target.memory(), 0, -1, -1);
  kvault_llama_sequence sequence = target.sequence(1);
  kvault_error error{};
  CHECK(kvault_llama_resume(chat.handle(), &sequence, nullptr, 0, nullptr, &error) ==
        KVAULT_UNSUPPORTED);
  const auto last = [&](std::int32_t id) {
    return llama->functions.memory_seq_pos_max(target.memory(), id);
  };
  CHECK(last(0) == -1);
  CHECK(last(1) == -1);
  CHECK(last(2) == 399);
}

}  // namespace
