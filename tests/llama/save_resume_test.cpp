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

}  // namespace
