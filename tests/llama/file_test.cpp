#include <doctest/doctest.h>

#include <fstream>
#include <iterator>

#include "tests/llama/support/kept_chat.hpp"
#include "tests/llama/support/tiny_model.hpp"

// States as bytes: what bindings without access to the context exchange with llama.cpp's files.

using namespace kvault::test;

namespace {

std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_CASE("A file of llama.cpp is taken with its tokens, and one that it loads is made") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  for (const TinyModel& tiny : tiny_models()) {
    CAPTURE(tiny.name);
    Vault vault;
    const auto path = vault.path() / "model.gguf";
    tiny.write(path, {});
    const LlamaModel model(*llama, path);
    const ModelFile file(path);
    const std::vector<std::int32_t> tokens = random_tokens(300, 61);
    LlamaContext context(model, {});
    static_cast<void>(context.decode(tokens));
    const auto own = vault.path() / "own.ggsq";
    REQUIRE(llama->state_seq_save_file(context.handle(), own.c_str(), 0, tokens.data(),
                                       tokens.size()) > 0);
    const std::string bytes = contents(own);

    KeptChat chat(vault, file, *llama, "chat");
    kvault_llama_save_info saved = KVAULT_LLAMA_SAVE_INFO_INIT;
    kvault_error error{};
    REQUIRE_MESSAGE(kvault_llama_save_state(chat.handle(), bytes.data(), bytes.size(), nullptr, 0,
                                            &saved, &error) == KVAULT_OK,
                    error.message);
    CHECK(saved.n_token == tokens.size());
    CHECK(chat.tokens() == tokens);
    // A file that was cut ends llama.cpp's process; here it is an error.
    CHECK(kvault_llama_save_state(chat.handle(), bytes.data(), bytes.size() / 2, nullptr, 0,
                                  nullptr, &error) != KVAULT_OK);

    kvault_llama_target target = KVAULT_LLAMA_TARGET_INIT;
    target.is_file = 1;
    const void* state = nullptr;
    std::size_t state_bytes = 0;
    REQUIRE_MESSAGE(kvault_llama_make_state(chat.handle(), &target, nullptr, 0, &state,
                                            &state_bytes, nullptr, &error) == KVAULT_OK,
                    error.message);
    const auto made = vault.path() / "made.ggsq";
    std::ofstream(made, std::ios::binary)
        .write(static_cast<const char*>(state), static_cast<std::streamsize>(state_bytes));
    if (!tiny.slides) CHECK(contents(made) == bytes);
    LlamaContext fresh(model, {});
    std::vector<std::int32_t> read(tokens.size());
    std::size_t n = 0;
    REQUIRE(llama->state_seq_load_file(fresh.handle(), made.c_str(), 0, read.data(), read.size(),
                                       &n) == state_bytes);
    CHECK(read == tokens);
    const float difference = max_difference(context.decode({90}), fresh.decode({90}));
    CHECK(difference <= (tiny.slides ? 0.02F : 0.0F));
  }
}

}  // namespace
