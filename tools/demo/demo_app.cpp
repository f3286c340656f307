#include "tools/demo/demo_app.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <span>

#include "tools/demo/demo_events.hpp"
#include "tools/demo/oracle_check.hpp"
#include "tools/model/hash.hpp"
#include "tools/model/matmul.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

using Clock = std::chrono::steady_clock;

/// Queries shown to the oracle: one, as in decoding, then some at once, as in prefill.
constexpr std::size_t kProbeDecode = 1;
constexpr std::size_t kProbePrefill = 12;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

Result<> tell(const DemoEvent& event) {
  const std::string line = to_line(event) + "\n";
  if (std::fputs(line.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    return fail(Errc::io, "nobody listens to the app");
  }
  return {};
}

/// The logits of every reply, in a file that outlives the app.
class LogitsFile {
 public:
  static Result<LogitsFile> open(const std::filesystem::path& path) {
    LogitsFile file;
    { std::ofstream(path, std::ios::binary | std::ios::app); }  // there must be one
    file.stream_.open(path, std::ios::binary | std::ios::in | std::ios::out);
    if (!file.stream_) return fail(Errc::io, message("cannot write ", path.native()));
    return file;
  }

  Result<> put(std::uint64_t index, std::span<const float> logits) {
    const auto size = static_cast<std::streamoff>(logits.size_bytes());
    stream_.seekp(static_cast<std::streamoff>(index) * size);
    stream_.write(reinterpret_cast<const char*>(logits.data()), size);
    stream_.flush();
    if (!stream_) return fail(Errc::io, message("cannot write the logits of reply ", index));
    return {};
  }

 private:
  std::fstream stream_;
};

/// First, middle and last layer.
std::vector<std::uint32_t> layers_to_check(std::size_t n_layer) {
  std::vector<std::uint32_t> layers;
  for (const std::size_t layer : {std::size_t{0}, n_layer / 2, n_layer - 1}) {
    if (layers.empty() || layers.back() != layer) {
      layers.push_back(static_cast<std::uint32_t>(layer));
    }
  }
  return layers;
}

/// Runs and saves the turns from `first` on.
Result<> run_turns(const Workload& workload, std::size_t first, sdk::Session& session,
                   CacheAttention& attention, LogitsFile& file) {
  std::uint64_t index = workload.n_question(first);
  for (std::size_t i = first; i < workload.turns.size(); ++i) {
    const auto on_reply = [&](const Reply& reply) -> Result<> {
      KVAULT_CHECK(file.put(index, reply.logits));
      return tell({.kind = EventKind::replied,
                   .n_token = reply.position,
                   .index = index++,
                   .token = reply.token,
                   .hash = hash_of(std::as_bytes(reply.logits))});
    };
    const auto on_progress = [](std::uint64_t n_token) -> Result<> {
      return tell({.kind = EventKind::progress, .n_token = n_token});
    };
    KVAULT_TRY(const std::vector<std::uint32_t> tokens,
               run_turn(*workload.model, attention, workload.turns[i],
                        {.on_reply = on_reply, .on_progress = on_progress}));
    const Clock::time_point start = Clock::now();
    KVAULT_TRY(const kvault_save_info saved, from_sdk(session.save(tokens), "save"));
    KVAULT_CHECK(tell({.kind = EventKind::saved,
                       .n_token = saved.n_token,
                       .milliseconds = milliseconds_since(start)}));
  }
  return {};
}

/// Words worth asking for at the end: from the second turn on, every other token.
std::vector<std::uint32_t> probe_words(const Workload& workload, std::size_t n) {
  std::vector<std::uint32_t> words;
  for (std::size_t i = workload.turns.size() > 1 ? 1 : 0; i < workload.turns.size(); ++i) {
    const std::vector<std::uint32_t>& context = workload.turns[i].context;
    for (std::size_t at = 0; at < context.size() && words.size() < n; at += 2) {
      words.push_back(context[at]);
    }
  }
  return words;
}

/// Runs n more tokens, which are not saved, in one step within a page, and asks the oracle.
Result<OracleOpinion> probe(const Workload& workload, CacheAttention& attention, std::size_t n) {
  const std::uint64_t room = KVAULT_PAGE_TOKENS - attention.n_token() % KVAULT_PAGE_TOKENS;
  if (room <= n) {
    KVAULT_CHECK(workload.model->forward(probe_words(workload, room), attention, 0, {}));
  }
  KVAULT_CHECK(workload.model->forward(probe_words(workload, n), attention, 0, {}));
  return ask_oracle(attention, layers_to_check(workload.layers.size()));
}

Result<> tell_end(const Workload& workload, const sdk::Session& session,
                  CacheAttention& attention) {
  KVAULT_TRY(const std::span<const std::uint32_t> tokens, from_sdk(session.tokens(), "tokens"));
  DemoEvent event{.kind = EventKind::finished,
                  .n_token = tokens.size(),
                  .hash = hash_of(std::as_bytes(tokens))};
  KVAULT_TRY(const kvault_cache_stats stats, from_sdk(attention.cache().stats(), "stats"));
  event.numbers.f16_bytes = stats.f16_size_bytes;
  event.numbers.cache_bytes = stats.stored_size_bytes;
  for (const std::size_t n : {kProbeDecode, kProbePrefill}) {
    KVAULT_TRY(const OracleOpinion opinion, probe(workload, attention, n));
    event.numbers.attention_error =
        std::max(event.numbers.attention_error, opinion.attention_error);
    event.numbers.control_error = std::max(event.numbers.control_error, opinion.control_error);
  }
  return tell(event);
}

}  // namespace

Result<int> run_demo_app(const DemoAppOptions& options) {
  KVAULT_TRY(const Workload workload, Workload::create(options.workload));
  KVAULT_TRY(LogitsFile file, LogitsFile::open(options.logits_file));
  set_matmul_threads(1);
  const Clock::time_point start = Clock::now();
  KVAULT_TRY(sdk::Client client, from_sdk(sdk::Client::connect({.auto_start = false,
                                                                .socket_path = options.socket_path,
                                                                .app_name = "kvault demo"}),
                                          "connect"));
  KVAULT_TRY(sdk::Session session,
             from_sdk(sdk::Session::open(client, {.name = options.session,
                                                  .identity = workload.model->identity(),
                                                  .cache = workload.cache_options(),
                                                  .create = true}),
                      "open"));
  CacheAttention attention(session.cache());
  const std::uint64_t n_token = attention.n_token();
  KVAULT_CHECK(tell(
      {.kind = EventKind::opened, .n_token = n_token, .milliseconds = milliseconds_since(start)}));
  KVAULT_TRY(const std::size_t first, workload.n_turn_at(n_token));
  KVAULT_CHECK(run_turns(workload, first, session, attention, file));
  KVAULT_CHECK(tell_end(workload, session, attention));
  return 0;
}

}  // namespace kvault::tools
