#include <doctest/doctest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>

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

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// A chat of 8192 tokens in a context, in llama.cpp's own file and in a vault.
struct LongChat {
  static constexpr ContextOptions kContext{.n_ctx = 8448};

  LongChat(const Llama& library, std::uint32_t head_dim, std::uint32_t n_kv_head)
      : llama(library), tokens(random_tokens(8192, 41)) {
    const auto path = vault.path() / "model.gguf";
    write_plain(path, {.n_layer = 4,
                       .n_head = std::max(4U, n_kv_head),
                       .n_kv_head = n_kv_head,
                       .head_dim = head_dim});
    model.emplace(llama, path);
    file.emplace(path);
    source.emplace(*model, kContext);
    const Clock::time_point begin = Clock::now();
    static_cast<void>(source->decode(tokens));
    prefill_ms = ms_since(begin);
    own_path = vault.path() / "own.ggsq";
    own_bytes = llama.state_seq_save_file(source->handle(), own_path.c_str(), 0, tokens.data(),
                                          tokens.size());
    KeptChat chat(vault, *file, llama, "chat", "k4v4");
    chat.save(source->sequence(1), tokens);
  }

  /// Until the first token is there, by llama.cpp's own file.
  double own_ms() {
    LlamaContext context(*model, kContext);
    const Clock::time_point begin = Clock::now();
    std::vector<std::int32_t> read(tokens.size());
    std::size_t n = 0;
    REQUIRE(llama.state_seq_load_file(context.handle(), own_path.c_str(), 0, read.data(),
                                      read.size(), &n) == own_bytes);
    static_cast<void>(context.decode({90}));
    return ms_since(begin);
  }

  struct Resumed {
    double resume_ms;
    double first_ms;
    std::uint64_t stored_bytes;
  };
  /// The same by kvault, the chat opened anew.
  Resumed kvault(std::int32_t scratch_seq_id) {
    std::vector<std::int32_t> prompt = tokens;
    prompt.push_back(90);
    LlamaContext context(*model, kContext);
    const Clock::time_point begin = Clock::now();
    KeptChat chat(vault, *file, llama, "chat", "k4v4");
    const auto info = chat.resume(context.sequence(scratch_seq_id), prompt);
    const double resume_ms = ms_since(begin);
    static_cast<void>(context.decode({90}));
    CHECK(info.n_token_reused == tokens.size());
    return {resume_ms, ms_since(begin), info.stored_bytes};
  }

  const Llama& llama;
  Vault vault;
  std::vector<std::int32_t> tokens;
  std::optional<LlamaModel> model;
  std::optional<ModelFile> file;
  std::optional<LlamaContext> source;
  std::filesystem::path own_path;
  std::size_t own_bytes = 0;
  double prefill_ms = 0;
};

/// Turns about, so that what else the machine does falls on all of them.
double measure_resume(LongChat& chat, std::size_t n_round) {
  std::vector<double> own;
  std::vector<double> resumed[2];
  std::vector<double> first[2];
  std::uint64_t stored_bytes = 0;
  for (std::size_t round = 0; round < n_round; ++round) {
    own.push_back(chat.own_ms());
    for (const std::size_t in_parts : {0U, 1U}) {
      const LongChat::Resumed times = chat.kvault(in_parts == 1 ? 1 : -1);
      resumed[in_parts].push_back(times.resume_ms);
      first[in_parts].push_back(times.first_ms);
      stored_bytes = times.stored_bytes;
    }
  }
  const double ratio = static_cast<double>(chat.own_bytes) / static_cast<double>(stored_bytes);
  MESSAGE("llama.cpp's file " << chat.own_bytes << " bytes, k4v4 " << stored_bytes << " (1/"
                              << ratio << ")");
  for (const std::size_t in_parts : {0U, 1U}) {
    const std::string way = in_parts == 1 ? "in parts" : "at once";
    MESSAGE(way << ": resumed in " << median(resumed[in_parts]) << " ms, first token "
                << median(first[in_parts]) << " ms; llama.cpp's file and first token "
                << median(own) << " ms (kvault " << median(first[in_parts]) / median(own)
                << " times as long); prefill " << chat.prefill_ms << " ms; median of " << n_round);
  }
  return ratio;
}

void measure_turn(LongChat& chat) {
  KeptChat kept(chat.vault, *chat.file, chat.llama, "chat", "k4v4");
  const std::vector<std::int32_t> turn = random_tokens(100, 42);
  static_cast<void>(chat.source->decode(turn));
  std::vector<std::int32_t> tokens = chat.tokens;
  tokens.insert(tokens.end(), turn.begin(), turn.end());
  const auto saved = kept.save(chat.source->sequence(1), tokens);
  MESSAGE("a turn of 100: copied " << saved.copied_bytes << ", written " << saved.written_bytes
                                   << " bytes, saved in " << saved.save_ms << " ms");
  CHECK(saved.copied_bytes < chat.own_bytes / 60);
}

TEST_CASE(
    "A chat of 8192 tokens takes a third of llama.cpp's file, and a turn of 100 its own bytes") {
  const Llama* const llama = Llama::get();
  if (llama == nullptr) return;
  struct Shape {
    std::uint32_t head_dim;
    std::uint32_t n_kv_head;
    double least_ratio;  ///< docs/benchmarks/llama.md
  };
  const bool is_long = std::getenv("KVAULT_TEST_LONG") != nullptr;
  for (const Shape& shape : {Shape{128, 2, 3.4}, {32, 2, 2.9}, {64, 2, 3.2}, {128, 8, 3.4}}) {
    CAPTURE(shape.head_dim);
    CAPTURE(shape.n_kv_head);
    LongChat chat(*llama, shape.head_dim, shape.n_kv_head);
    CHECK(measure_resume(chat, is_long ? 9 : 1) >= shape.least_ratio);
    measure_turn(chat);
    if (!is_long) break;
  }
}

}  // namespace
