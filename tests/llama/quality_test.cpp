#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "tests/llama/support/kept_chat.hpp"
#include "tests/llama/support/tiny_model.hpp"

// How far the presets are from lossless, beside llama.cpp's own quantised caches; what a chat takes
// on disk, and how long it takes to come back, beside llama.cpp's own file.

using namespace kvault::test;

namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

/// Mean KL of the next 48 tokens' distributions.
double mean_kl(const std::vector<std::vector<float>>& truth, LlamaContext& context,
               const std::vector<std::int32_t>& next) {
  double sum = 0;
  for (std::size_t i = 0; i < next.size(); ++i) {
    sum += kl_divergence(truth[i], context.decode({next[i]}));
  }
  return sum / static_cast<double>(next.size());
}

struct Subject {
  std::string name;
  std::filesystem::path path;
  std::size_t n_token;
};

void measure_quality(const Llama& llama, Vault& vault, const Subject& subject) {
  CAPTURE(subject.name);
  const LlamaModel model(llama, subject.path);
  const ModelFile file(subject.path);
  // Of a real model its own words, chosen greedily; noise of the others.
  std::vector<std::int32_t> tokens = random_tokens(subject.n_token, 31);
  if (subject.name == "stories") {
    LlamaContext writer(model, {});
    tokens = {1};
    while (tokens.size() < subject.n_token) {
      const std::vector<float> logits = writer.decode({tokens.back()});
      const auto best = std::max_element(logits.begin() + 3, logits.end()) - logits.begin();
      tokens.push_back(static_cast<std::int32_t>(best));
    }
  }
  const std::vector<std::int32_t> next(tokens.end() - 48, tokens.end());
  tokens.resize(tokens.size() - 48);
  std::vector<std::int32_t> prompt = tokens;
  prompt.push_back(next[0]);

  LlamaContext source(model, {});
  static_cast<void>(source.decode(tokens));
  for (const char* preset : {"raw", "k8v8", "k8v4", "k4v4"}) {
    KeptChat(vault, file, llama, subject.name + preset, preset).save(source.sequence(), tokens);
  }
  std::vector<std::vector<float>> truth;
  for (const std::int32_t token : next) truth.push_back(source.decode({token}));

  std::map<std::string, double> kl;
  for (const char* preset : {"raw", "k8v8", "k8v4", "k4v4"}) {
    LlamaContext context(model, {});
    KeptChat chat(vault, file, llama, subject.name + preset, preset);
    CHECK(chat.resume(context.sequence(), prompt).n_token_reused == tokens.size());
    kl[preset] = mean_kl(truth, context, next);
  }
  for (const int type : {8, 2}) {
    LlamaContext context(model, {.type_k = type, .type_v = type});
    static_cast<void>(context.decode(tokens));
    kl[type == 8 ? "q8_0" : "q4_0"] = mean_kl(truth, context, next);
  }
  MESSAGE(subject.name << ": mean KL, nats: raw " << kl["raw"] << ", k8v8 " << kl["k8v8"]
                       << ", k8v4 " << kl["k8v4"] << ", k4v4 " << kl["k4v4"] << "; llama.cpp q8_0 "
                       << kl["q8_0"] << ", q4_0 " << kl["q4_0"]);
  CHECK(kl["raw"] == 0);
  CHECK(kl["k4v4"] < kl["q4_0"]);
  CHECK(kl["k8v4"] < kl["q4_0"]);
}

TEST_CASE("Coded chats are nearer to f16 than llama.cpp's own 4-bit cache") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  Vault vault;
  std::vector<Subject> subjects;
  const std::filesystem::path stories =
      std::filesystem::path(KVAULT_TEST_SHARED_DIR) / "data/models/stories-hd32/model.gguf";
  if (std::filesystem::exists(stories)) subjects.push_back({"stories", stories, 490});
  for (const std::uint32_t head_dim : {32U, 64U, 128U}) {
    const auto path = vault.path() / (std::to_string(head_dim) + ".gguf");
    write_plain(path, {.head_dim = head_dim});
    subjects.push_back({"head_dim " + std::to_string(head_dim), path, 900});
  }
  for (const Subject& subject : subjects) measure_quality(*llama, vault, subject);
}

TEST_CASE(
    "A chat of 8192 tokens takes a third of llama.cpp's file, and a turn of 100 its own bytes") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  for (const std::uint32_t head_dim : {32U, 64U, 128U}) {
    if (head_dim != 128 && std::getenv("KVAULT_TEST_LONG") == nullptr) continue;
    Vault vault;
    const auto path = vault.path() / "model.gguf";
    write_plain(path, {.n_layer = 4, .head_dim = head_dim});
    const LlamaModel model(*llama, path);
    const ModelFile file(path);
    const ContextOptions options{.n_ctx = 8448};
    std::vector<std::int32_t> tokens = random_tokens(8192, 41);
    LlamaContext source(model, options);
    const Clock::time_point begin = Clock::now();
    static_cast<void>(source.decode(tokens));
    const double prefill_ms = ms_since(begin);

    const auto own_path = vault.path() / "own.ggsq";
    const std::size_t own_bytes = llama->state_seq_save_file(source.handle(), own_path.c_str(), 0,
                                                             tokens.data(), tokens.size());
    KeptChat chat(vault, file, *llama, "chat", "k4v4");
    const auto first = chat.save(source.sequence(1), tokens);
    double own_ms = 0;
    {
      LlamaContext own(model, options);
      const Clock::time_point own_begin = Clock::now();
      std::vector<std::int32_t> read(tokens.size());
      std::size_t n = 0;
      REQUIRE(llama->state_seq_load_file(own.handle(), own_path.c_str(), 0, read.data(),
                                         read.size(), &n) == own_bytes);
      static_cast<void>(own.decode({90}));
      own_ms = ms_since(own_begin);
    }
    std::vector<std::int32_t> prompt = tokens;
    prompt.push_back(90);
    LlamaContext fresh(model, options);
    const Clock::time_point resume_begin = Clock::now();
    const auto resumed = chat.resume(fresh.sequence(), prompt);
    const double resume_ms = ms_since(resume_begin);
    static_cast<void>(fresh.decode({90}));
    const double first_ms = ms_since(resume_begin);
    CHECK(resumed.n_token_reused == 8192);

    const std::vector<std::int32_t> turn = random_tokens(100, 42);
    static_cast<void>(source.decode(turn));
    tokens.insert(tokens.end(), turn.begin(), turn.end());
    const auto second = chat.save(source.sequence(1), tokens);
    const double ratio = static_cast<double>(own_bytes) / static_cast<double>(resumed.stored_bytes);
    MESSAGE("head_dim " << head_dim << ": llama.cpp's file " << own_bytes << " bytes, k4v4 "
                        << resumed.stored_bytes << " (1/" << ratio << "); a turn of 100: copied "
                        << second.copied_bytes << ", written " << second.written_bytes
                        << " bytes, saved in " << second.save_ms << " ms; resumed in " << resume_ms
                        << " ms, first token " << first_ms << " ms; llama.cpp's file and first "
                        << own_ms << " ms; prefill " << prefill_ms << " ms; first save "
                        << first.save_ms << " ms");
    CHECK(second.copied_bytes < own_bytes / 60);
    CHECK(ratio >= (head_dim == 128 ? 3.1 : 2.6));  // docs/benchmarks/llama.md
  }
}

}  // namespace
