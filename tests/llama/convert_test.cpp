#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>

#include "tests/llama/support/kept_chat.hpp"
#include "tests/llama/support/tiny_model.hpp"

// Saved from one context, resumed in another that is made differently, beside what llama.cpp's own
// context of that kind computes.

using namespace kvault::test;

namespace {

constexpr int kF32 = 0;
constexpr int kF16 = 1;
constexpr int kQ4 = 2;
constexpr int kQ8 = 8;
constexpr int kBf16 = 30;

struct Way {
  const char* name;
  ContextOptions from;
  ContextOptions to;
};

ContextOptions with(int type, bool flash_attention = true, bool kv_unified = true) {
  return {
      .kv_unified = kv_unified, .flash_attention = flash_attention, .type_k = type, .type_v = type};
}

/// The logits behind `prompt` and each of `next`, in one context.
std::vector<std::vector<float>> run(LlamaContext& context, const std::vector<std::int32_t>& next) {
  std::vector<std::vector<float>> logits;
  for (const std::int32_t token : next) logits.push_back(context.decode({token}));
  return logits;
}

float largest_change(const std::vector<std::vector<float>>& a,
                     const std::vector<std::vector<float>>& b) {
  float largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, max_difference(a[i], b[i]));
  }
  return largest;
}

struct Change {
  float ours = 0;
  float own = 0;
};

/// How far six tokens' logits are from those of the context that the chat was saved from: resumed
/// another way, and of llama.cpp's own context of that kind.
Change change_of(const LlamaModel& model, KeptChat& chat, const Way& way,
                 const std::vector<std::int32_t>& tokens) {
  const std::vector<std::int32_t> next = {90, 91, 92, 93, 94, 95};
  std::vector<std::int32_t> prompt = tokens;
  prompt.push_back(next[0]);
  LlamaContext source(model, way.from);
  static_cast<void>(source.decode(tokens));
  chat.save(source.sequence(), tokens);
  LlamaContext target(model, way.to);
  CHECK(chat.resume(target.sequence(), prompt).n_token_reused == tokens.size());
  LlamaContext native(model, way.to);
  static_cast<void>(native.decode(tokens));
  const auto truth = run(source, next);
  return {largest_change(truth, run(target, next)), largest_change(truth, run(native, next))};
}

TEST_CASE("A raw chat goes on in a context of other cache types, flash attention and streams") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  const std::vector<Way> ways = {{"f16 to q8_0", with(kF16), with(kQ8)},
                                 {"f16 to q4_0", with(kF16), with(kQ4)},
                                 {"f16 to bf16", with(kF16), with(kBf16)},
                                 {"f16 to f32", with(kF16), with(kF32)},
                                 {"flash attention off to on", with(kF16, false), with(kF16)},
                                 {"flash attention on to off", with(kF16), with(kF16, false)},
                                 {"one stream to many", with(kF16), with(kF16, true, false)},
                                 {"many streams to one", with(kF16, true, false), with(kF16)},
                                 {"q8_0 to f16", with(kQ8), with(kF16)},
                                 {"q8_0 to q4_0", with(kQ8), with(kQ4)}};
  const std::uint64_t n_text = std::getenv("KVAULT_TEST_LONG") != nullptr ? 9 : 1;
  for (const TinyModel& tiny : tiny_models()) {
    if (!tiny.has_attention) continue;
    Vault vault;
    const auto path = vault.path() / "model.gguf";
    tiny.write(path, {});
    const LlamaModel model(*llama, path);
    const ModelFile file(path);
    for (const Way& way : ways) {
      const std::string label = std::string(tiny.name) + ", " + way.name;
      CAPTURE(label);
      std::vector<float> ratios;
      for (std::uint64_t text = 0; text < n_text; ++text) {
        KeptChat chat(vault, file, *llama, label + std::to_string(text));
        const Change change = change_of(model, chat, way, random_tokens(300, 11 + text));
        // Rounding is of the same kind, but not the same numbers: one draw against another.
        CHECK(change.ours <= 1.5F * change.own + 0.01F);
        if (change.own > 0) ratios.push_back(change.ours / change.own);
        if (text > 0) continue;
        MESSAGE(label << ": logits change by " << change.ours << ", by llama.cpp's own "
                      << change.own);
      }
      if (ratios.size() < 2) continue;
      std::sort(ratios.begin(), ratios.end());
      MESSAGE(label << ": kvault's change over llama.cpp's, " << ratios.size()
                    << " texts: " << ratios.front() << " to " << ratios.back() << ", median "
                    << ratios[ratios.size() / 2]);
    }
  }
}

TEST_CASE("Rows of every cache type are kept verbatim by the raw preset") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  for (const TinyModel& tiny : tiny_models()) {
    if (!tiny.has_attention || tiny.slides) continue;
    Vault vault;
    const auto path = vault.path() / "model.gguf";
    tiny.write(path, {});
    const LlamaModel model(*llama, path);
    const ModelFile file(path);
    const std::vector<std::int32_t> tokens = random_tokens(400, 12);
    std::vector<std::int32_t> prompt = tokens;
    prompt.push_back(90);
    for (const auto& [k, v] : std::vector<std::pair<int, int>>{
             {kF32, kF32}, {kBf16, kBf16}, {kQ8, kQ8}, {kQ4, kQ4}, {kQ8, kQ4}, {kF16, kQ8}}) {
      CAPTURE(tiny.name);
      CAPTURE(k);
      CAPTURE(v);
      ContextOptions options;
      options.type_k = k;
      options.type_v = v;
      LlamaContext source(model, options);
      static_cast<void>(source.decode(tokens));
      KeptChat chat(vault, file, *llama, std::to_string(k) + "/" + std::to_string(v));
      chat.save(source.sequence(), tokens);
      LlamaContext target(model, options);
      const kvault_llama_resume_info info = chat.resume(target.sequence(), prompt);
      CHECK(info.n_token_reused == tokens.size());
      CHECK(info.is_verbatim == 1);
      CHECK(target.state() == source.state());
      CHECK(max_difference(source.decode({90}), target.decode({90})) == 0);
    }
  }
}

TEST_CASE("What a context is like is found out where the app does not say") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  Vault vault;
  const auto path = vault.path() / "model.gguf";
  write_plain(path, {});
  const LlamaModel model(*llama, path);
  const ModelFile file(path);
  const std::vector<std::int32_t> tokens = random_tokens(100, 13);
  LlamaContext source(model, {});
  static_cast<void>(source.decode(tokens));
  KeptChat chat(vault, file, *llama, "chat");
  chat.save(source.sequence(), tokens);
  for (const ContextOptions& options :
       {with(kF16), with(kF16, false), with(kQ8), with(kF16, true, false), with(kBf16)}) {
    LlamaContext target(model, options);
    kvault_llama_sequence sequence = target.sequence();
    sequence.type_k = sequence.type_v = sequence.flash_attention = -1;
    CHECK(chat.resume(sequence, tokens).n_token_reused == 99);
    CHECK(model.llama().functions.memory_seq_pos_max(target.memory(), 0) == 98);
  }
}

}  // namespace
