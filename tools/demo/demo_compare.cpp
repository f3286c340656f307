#include "tools/demo/demo_compare.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <span>

#include "tools/cli/progress_bar.hpp"
#include "tools/model/hash.hpp"
#include "tools/model/matmul.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

constexpr std::uint32_t kPrefillChunk = 512;

/// Reads the logits that the app left, one reply after the other.
class LogitsReader {
 public:
  LogitsReader(const std::filesystem::path& path, std::uint32_t n_vocab)
      : stream_(path, std::ios::binary), logits_(n_vocab) {}

  Result<std::span<const float>> next() {
    const auto size = static_cast<std::streamsize>(logits_.size() * sizeof(float));
    stream_.read(reinterpret_cast<char*>(logits_.data()), size);
    if (!stream_) return fail(Errc::truncated, "the app left too few logits");
    return std::span<const float>(logits_);
  }

 private:
  std::ifstream stream_;
  std::vector<float> logits_;
};

void count_differences(const Reply& reply, const SeenReply& seen, std::span<const float> stored,
                       PlainChat& chat) {
  chat.n_different_reply += reply.token == seen.token ? 0 : 1;
  const bool is_same = hash_of(std::as_bytes(reply.logits)) == seen.logits_hash &&
                       std::memcmp(stored.data(), reply.logits.data(), stored.size_bytes()) == 0;
  chat.n_different_logits += is_same ? 0 : 1;
}

std::function<Result<>(std::uint64_t)> shower(ProgressBar& bar) {
  return [&bar](std::uint64_t n_token) -> Result<> {
    bar.show(n_token);
    return {};
  };
}

}  // namespace

Result<PlainChat> run_uninterrupted(const Workload& workload, const SeenChat& seen,
                                    const std::filesystem::path& logits_file, bool with_progress) {
  ProgressBar bar("chat, uninterrupted", workload.n_token(), with_progress);
  KVAULT_TRY(sdk::Cache cache, from_sdk(sdk::Cache::create(workload.cache_options()), "cache"));
  CacheAttention attention(cache.view());
  LogitsReader reader(logits_file, workload.model->n_vocab());
  set_matmul_threads(1);
  PlainChat chat;
  std::size_t index = 0;
  for (const Turn& turn : workload.turns) {
    std::vector<std::uint32_t> replies;
    const auto on_reply = [&](const Reply& reply) -> Result<> {
      if (index >= seen.replies.size()) {
        return fail(Errc::incomplete, message("the app gave ", seen.replies.size(), " replies"));
      }
      KVAULT_TRY(const std::span<const float> stored, reader.next());
      count_differences(reply, seen.replies[index++], stored, chat);
      replies.push_back(reply.token);
      if (reply.answer) chat.recall.add(reply.token == *reply.answer);
      return {};
    };
    KVAULT_TRY(const std::vector<std::uint32_t> tokens,
               run_turn(*workload.model, attention, turn,
                        {.on_reply = on_reply, .on_progress = shower(bar)}));
    chat.tokens.insert(chat.tokens.end(), tokens.begin(), tokens.end());
    chat.replies.push_back(std::move(replies));
  }
  return chat;
}

Result<RawScore> run_raw(const Workload& workload, const PlainChat& chat,
                         const std::filesystem::path& logits_file, bool with_progress) {
  ProgressBar bar("chat, uncompressed", workload.n_token(), with_progress);
  KVAULT_TRY(const std::vector<kvault_layer> layers, layers_with_preset(*workload.model, "raw"));
  sdk::CacheOptions options = workload.cache_options();
  options.layers = layers;
  KVAULT_TRY(sdk::Cache cache, from_sdk(sdk::Cache::create(options), "cache"));
  CacheAttention attention(cache.view());
  LogitsReader reader(logits_file, workload.model->n_vocab());
  RawScore score;
  std::vector<double> divergences;
  const auto on_reply = [&](const Reply& reply) -> Result<> {
    KVAULT_TRY(const std::span<const float> coded, reader.next());
    divergences.push_back(kl_divergence(reply.logits, coded));
    score.agreement.add(reply.likeliest == reply.token);
    if (reply.answer) score.recall.add(reply.likeliest == *reply.answer);
    return {};
  };
  for (std::size_t i = 0; i < workload.turns.size(); ++i) {
    KVAULT_CHECK(
        run_turn(*workload.model, attention, workload.turns[i],
                 {.forced = chat.replies[i], .on_reply = on_reply, .on_progress = shower(bar)}));
  }
  score.kl = summarise_kl(divergences);
  return score;
}

Result<double> measure_reprefill(const Workload& workload, const PlainChat& chat,
                                 std::uint64_t n_token, bool with_progress) {
  ProgressBar bar("prefill from nothing", n_token, with_progress);
  KVAULT_TRY(sdk::Cache cache, from_sdk(sdk::Cache::create(workload.cache_options()), "cache"));
  CacheAttention attention(cache.view());
  set_matmul_threads(0);
  const auto start = std::chrono::steady_clock::now();
  const std::span<const std::uint32_t> tokens = std::span(chat.tokens).first(n_token);
  for (std::size_t first = 0; first < tokens.size(); first += kPrefillChunk) {
    const std::size_t n = std::min<std::size_t>(kPrefillChunk, tokens.size() - first);
    KVAULT_CHECK(workload.model->forward(tokens.subspan(first, n), attention, 0, {}));
    bar.show(first + n);
  }
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
  return spent.count();
}

}  // namespace kvault::tools
