#include <doctest/doctest.h>

#include <cstring>
#include <fstream>

#include "tests/llama/support/kept_chat.hpp"
#include "tests/llama/support/tiny_model.hpp"

// What is damaged, forged or of another model is refused, and the context goes on.

using namespace kvault::test;

namespace {

kvault_status open_status(Vault& vault, const ModelFile& model, const char* name,
                          kvault_error& error) {
  kvault_llama_chat_options options = KVAULT_LLAMA_CHAT_OPTIONS_INIT;
  options.client = vault.client();
  options.model = model.handle();
  options.name = name;
  kvault_llama_chat* chat = nullptr;
  const kvault_status status = kvault_llama_chat_open(&options, &chat, &error);
  kvault_llama_chat_close(chat);
  return status;
}

TEST_CASE("A chat of other weights, rope or LoRA is refused by name before a byte is loaded") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  Vault vault;
  const auto path = vault.path() / "model.gguf";
  const auto twin = vault.path() / "twin.gguf";
  write_plain(path, {.seed = 1});
  write_plain(twin, {.seed = 2});  // of the same shape
  const LlamaModel model(*llama, path);
  const ModelFile file(path);
  LlamaContext context(model, {});
  const std::vector<std::int32_t> tokens = random_tokens(50, 51);
  static_cast<void>(context.decode(tokens));
  KeptChat(vault, file, *llama, "chat").save(context.sequence(), tokens);

  kvault_error error{};
  CHECK(open_status(vault, ModelFile(twin), "chat", error) == KVAULT_IDENTITY_MISMATCH);
  CHECK(std::string(error.message).find("llama.model") != std::string::npos);
  const std::string text = path.native();
  kvault_llama_model_options options = KVAULT_LLAMA_MODEL_OPTIONS_INIT;
  options.path = text.c_str();
  options.rope_freq_base = 500000;
  CHECK(open_status(vault, ModelFile(options), "chat", error) == KVAULT_IDENTITY_MISMATCH);
  CHECK(std::string(error.message).find("llama.rope") != std::string::npos);
  options.rope_freq_base = 0;
  const std::string adapter = twin.native();
  const kvault_llama_lora lora{adapter.c_str(), 0.5F};
  options.lora = &lora;
  options.n_lora = 1;
  CHECK(open_status(vault, ModelFile(options), "chat", error) == KVAULT_IDENTITY_MISMATCH);
  CHECK(std::string(error.message).find("llama.lora") != std::string::npos);
  CHECK(open_status(vault, file, "chat", error) == KVAULT_OK);
  CHECK(open_status(vault, file, "no chat", error) == KVAULT_NOT_FOUND);

  std::ofstream(vault.path() / "cut.gguf", std::ios::binary) << "GGUF\3\0\0";
  const std::string cut = (vault.path() / "cut.gguf").native();
  options = KVAULT_LLAMA_MODEL_OPTIONS_INIT;
  options.path = cut.c_str();
  kvault_llama_model* none = nullptr;
  CHECK(kvault_llama_model_open(&options, &none, &error) == KVAULT_TRUNCATED);
}

TEST_CASE("Thousands of damaged states are refused, and the saved chat and the context go on") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  for (const TinyModel& tiny : tiny_models()) {
    CAPTURE(tiny.name);
    Vault vault;
    const auto path = vault.path() / "model.gguf";
    tiny.write(path, {});
    const LlamaModel model(*llama, path);
    const ModelFile file(path);
    LlamaContext context(model, {});
    const std::vector<std::int32_t> tokens = random_tokens(20, 52);
    static_cast<void>(context.decode(tokens));
    KeptChat chat(vault, file, *llama, "chat");
    chat.save(context.sequence(), tokens);
    std::vector<std::int32_t> more = tokens;
    more.push_back(90);
    static_cast<void>(context.decode({90}));
    const std::vector<std::byte> whole = context.state();

    Random random(53);
    int n_refused = 0;
    for (int i = 0; i < 1500; ++i) {
      std::vector<std::byte> state = whole;
      // Heads, counts and sizes are in the front and between the rows; rows are only bytes.
      const std::size_t at = i % 2 == 0 ? random.next() % 300 : random.next() % state.size();
      const bool is_cut = i % 3 == 0;
      if (is_cut) {
        state.resize(at);
      } else {
        const std::uint32_t forged = i % 3 == 1 ? 0x7fffffffU : static_cast<std::uint32_t>(i);
        std::memcpy(state.data() + std::min(at, state.size() - 4), &forged, 4);
      }
      const kvault_status status = kvault_llama_save_state(
          chat.handle(), state.data(), state.size(), more.data(), more.size(), nullptr, nullptr);
      if (is_cut) CHECK(status != KVAULT_OK);
      if (status != KVAULT_OK) {
        ++n_refused;
      } else {  // bytes of a row: back to where it was
        REQUIRE(kvault_llama_save_state(chat.handle(), whole.data(), whole.size(), more.data(),
                                        more.size(), nullptr, nullptr) == KVAULT_OK);
      }
    }
    MESSAGE(tiny.name << ": " << n_refused << " of 1500 refused");
    CHECK(n_refused >= 500);
    LlamaContext fresh(model, {});
    more.push_back(91);
    const auto info = chat.resume(fresh.sequence(), more);
    CHECK(info.n_token_reused >= tokens.size());
    CHECK(std::isfinite(context.decode({91})[5]));
    CHECK(std::isfinite(fresh.decode({91})[5]));
  }
}

TEST_CASE("Arguments that are wrong are answered with what is wrong, and nothing else happens") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  Vault vault;
  const auto path = vault.path() / "model.gguf";
  write_plain(path, {});
  const LlamaModel model(*llama, path);
  const ModelFile file(path);
  LlamaContext context(model, {});
  const std::vector<std::int32_t> tokens = random_tokens(30, 54);
  static_cast<void>(context.decode(tokens));
  KeptChat chat(vault, file, *llama, "chat");
  kvault_error error{};
  const auto save = [&](kvault_llama_sequence sequence, std::size_t n) {
    return kvault_llama_save(chat.handle(), &sequence, tokens.data(), n, nullptr, &error);
  };
  kvault_llama_sequence sequence = context.sequence();
  CHECK(save(sequence, 29) == KVAULT_SHAPE_MISMATCH);
  CHECK(save(sequence, 0) == KVAULT_INVALID_ARGUMENT);
  sequence.seq_id = 99;
  CHECK(save(sequence, 30) == KVAULT_OUT_OF_RANGE);
  CHECK(save(context.sequence(7), 30) == KVAULT_OUT_OF_RANGE);
  sequence = context.sequence();
  sequence.context = nullptr;
  CHECK(save(sequence, 30) == KVAULT_INVALID_ARGUMENT);
  sequence = context.sequence();
  sequence.seq_id = 1;
  CHECK(save(sequence, 30) == KVAULT_INCOMPLETE);  // it holds nothing
  CHECK(save(context.sequence(), 30) == KVAULT_OK);
  LlamaContext small(model, {.n_ctx = 256});
  chat.save(context.sequence(), tokens);
  LlamaContext big(model, {});
  std::vector<std::int32_t> many = random_tokens(600, 55);
  static_cast<void>(big.decode(many));
  KeptChat long_chat(vault, file, *llama, "long");
  long_chat.save(big.sequence(), many);
  sequence = small.sequence();
  CHECK(kvault_llama_resume(long_chat.handle(), &sequence, many.data(), many.size(), nullptr,
                            &error) == KVAULT_LIMIT_EXCEEDED);
  CHECK(std::isfinite(small.decode({5})[0]));
}

}  // namespace
