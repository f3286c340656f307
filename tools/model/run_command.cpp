#include "tools/model/run_command.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tools/cli/option_checks.hpp"
#include "tools/cli/progress_bar.hpp"
#include "tools/cli/report.hpp"
#include "tools/model/fineweb.hpp"
#include "tools/model/matmul.hpp"
#include "tools/model/recall.hpp"
#include "tools/model/recall_task.hpp"
#include "tools/model/scores.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

/// Sequences of a model's text that are scored.
constexpr std::size_t kSequences = 6;
constexpr std::uint64_t kSequenceTokens = 1024;
constexpr std::uint64_t kRecallTokens = 8192;
constexpr std::uint32_t kQuestionsPerTurn = 32;
/// Before this position every key is raw, and no preset differs from another.
constexpr std::size_t kFirstCodedQuery = 256;

struct RunOptions {
  std::string model_directory;
  std::string preset = "k4v4";
  std::string row_type = "f16";
  std::string device = "cpu";
  std::uint64_t n_token = 0;
  std::uint32_t chunk = 256;
  bool json = false;
};

/// What one run of a preset gave.
struct RunScore {
  std::vector<double> nll;         ///< per scored token
  std::vector<double> divergence;  ///< from the raw run, per scored token that may differ
  RecallScore recall;
  double bits_per_element = 0;
};

Result<sdk::Cache> make_cache(const Model& model, const RunOptions& options,
                              const std::string& preset) {
  KVAULT_TRY(const std::vector<kvault_layer> layers, layers_with_preset(model, preset));
  if (options.row_type != "f16" && options.row_type != "f32") {
    return fail(Errc::invalid_argument, message("rows of type ", options.row_type));
  }
  return from_sdk(
      sdk::Cache::create({.layers = layers,
                          .row_type = options.row_type == "f16" ? KVAULT_F16 : KVAULT_F32,
                          .device = options.device}),
      "cache");
}

/// Logits of every token, [n_token][n_vocab]; sets the bits per element.
Result<std::vector<float>> run_sequence(const Model& model, const RunOptions& options,
                                        const std::string& preset,
                                        std::span<const std::uint32_t> tokens,
                                        double& bits_per_element) {
  KVAULT_TRY(sdk::Cache cache, make_cache(model, options, preset));
  CacheAttention attention(cache.view());
  std::vector<float> logits(tokens.size() * model.n_vocab());
  for (std::size_t first = 0; first < tokens.size(); first += options.chunk) {
    const std::size_t n = std::min<std::size_t>(options.chunk, tokens.size() - first);
    const std::span<float> part =
        std::span(logits).subspan(first * model.n_vocab(), n * model.n_vocab());
    KVAULT_CHECK(
        model.forward(tokens.subspan(first, n), attention, static_cast<std::uint32_t>(n), part));
  }
  KVAULT_TRY(const kvault_cache_stats stats, from_sdk(cache->stats(), "stats"));
  bits_per_element = stats.bits_per_element;
  return logits;
}

/// Scores text: every token but the last of a sequence is followed by the next.
Result<RunScore> score_text(const Model& model, const RunOptions& options,
                            std::span<const std::uint32_t> text) {
  const std::uint64_t n_token = options.n_token == 0 ? kSequenceTokens : options.n_token;
  if (text.size() < kSequences * n_token + 1) {
    return fail(Errc::limit_exceeded, message(kSequences, " sequences of ", n_token,
                                              " tokens in a text of ", text.size()));
  }
  ProgressBar bar("run", kSequences, !options.json);
  RunScore score;
  const std::size_t n_vocab = model.n_vocab();
  for (std::size_t s = 0; s < kSequences; ++s) {
    const std::span<const std::uint32_t> tokens = text.subspan(s * n_token, n_token);
    double ignored = 0;
    KVAULT_TRY(const std::vector<float> raw, run_sequence(model, options, "raw", tokens, ignored));
    KVAULT_TRY(const std::vector<float> coded,
               run_sequence(model, options, options.preset, tokens, score.bits_per_element));
    for (std::size_t t = 0; t < n_token; ++t) {
      const std::span<const float> logits = std::span(coded).subspan(t * n_vocab, n_vocab);
      score.nll.push_back(nll_of(logits, text[s * n_token + t + 1]));
      if (t < kFirstCodedQuery) continue;
      score.divergence.push_back(
          kl_divergence(std::span(raw).subspan(t * n_vocab, n_vocab), logits));
    }
    bar.show(s + 1);
  }
  return score;
}

/// The replies of one run of the recall chat, and their logits.
struct RecallRun {
  RunScore score;
  std::vector<std::vector<float>> logits;
};

/// Runs the chat with the right answers put into its mouth, so that no error breeds another.
Result<RecallRun> run_recall(const Model& model, const RunOptions& options,
                             const std::string& preset, std::span<const Turn> turns) {
  KVAULT_TRY(sdk::Cache cache, make_cache(model, options, preset));
  CacheAttention attention(cache.view());
  ProgressBar bar("run " + preset, turns.size(), !options.json);
  RecallRun run;
  const auto on_reply = [&run](const Reply& reply) -> Result<> {
    run.score.recall.add(reply.likeliest == *reply.answer);
    run.score.nll.push_back(nll_of(reply.logits, *reply.answer));
    run.logits.emplace_back(reply.logits.begin(), reply.logits.end());
    return {};
  };
  for (std::size_t i = 0; i < turns.size(); ++i) {
    std::vector<std::uint32_t> answers;
    for (const Question& question : turns[i].questions) answers.push_back(*question.answer);
    KVAULT_CHECK(run_turn(model, attention, turns[i],
                          {.chunk = options.chunk, .forced = answers, .on_reply = on_reply}));
    bar.show(i + 1);
  }
  KVAULT_TRY(const kvault_cache_stats stats, from_sdk(cache->stats(), "stats"));
  run.score.bits_per_element = stats.bits_per_element;
  return run;
}

Result<int> run_built_in(const RunOptions& options) {
  const std::unique_ptr<RecallModel> model = RecallModel::create();
  const std::uint64_t n_token = options.n_token == 0 ? kRecallTokens : options.n_token;
  KVAULT_TRY(const std::vector<Turn> turns,
             make_recall_turns({.n_token = n_token, .n_question = kQuestionsPerTurn}));
  KVAULT_TRY(const RecallRun raw, run_recall(*model, options, "raw", turns));
  KVAULT_TRY(RecallRun coded, run_recall(*model, options, options.preset, turns));
  for (std::size_t i = 0; i < coded.logits.size(); ++i) {
    coded.score.divergence.push_back(kl_divergence(raw.logits[i], coded.logits[i]));
  }
  const KlScore kl = summarise_kl(coded.score.divergence);
  Report report;
  report.add("model", model->name());
  report.add("preset", options.preset);
  report.add("n_token", n_token);
  report.add("n_asked", coded.score.recall.n_asked);
  report.add("recall", coded.score.recall.share());
  report.add("recall_raw", raw.score.recall.share());
  report.add("nll", mean_of(coded.score.nll));
  report.add("nll_raw", mean_of(raw.score.nll));
  report.add("kl_mean", kl.mean, format_number("%.3e", kl.mean));
  report.add("kl_p99", kl.p99, format_number("%.3e", kl.p99));
  report.add("kl_p999", kl.p999, format_number("%.3e", kl.p999));
  report.add("bits_per_element", coded.score.bits_per_element);
  report.print(options.json);
  return kExitDone;
}

Result<int> run_real(const RunOptions& options) {
  KVAULT_TRY(const std::unique_ptr<FinewebModel> model,
             FinewebModel::open(options.model_directory));
  KVAULT_TRY(const std::vector<std::uint32_t> text, read_tokens(options.model_directory));
  KVAULT_TRY(const RunScore score, score_text(*model, options, text));
  const KlScore kl = summarise_kl(score.divergence);
  Report report;
  report.add("model", model->name());
  report.add("preset", options.preset);
  report.add("row_type", options.row_type);
  report.add("n_token", score.nll.size());
  report.add("nll", mean_of(score.nll), format_number("%.5f per token", mean_of(score.nll)));
  report.add("n_kl", kl.n, message(kl.n, " tokens at positions from ", kFirstCodedQuery, " on"));
  report.add("kl_mean", kl.mean, format_number("%.3e", kl.mean));
  report.add("kl_p99", kl.p99, format_number("%.3e", kl.p99));
  report.add("kl_p999", kl.p999, format_number("%.3e", kl.p999));
  report.add("bits_per_element", score.bits_per_element);
  report.print(options.json);
  return kExitDone;
}

Result<int> run(const RunOptions& options) {
  if (options.chunk == 0) return fail(Errc::invalid_argument, "chunks of no tokens");
  set_matmul_threads(0);
  return options.model_directory.empty() ? run_built_in(options) : run_real(options);
}

}  // namespace

void add_run_command(CLI::App& app, int& exit_code) {
  CLI::App* command =
      app.add_subcommand("run", "Run a model over a preset and score it against raw pages");
  auto options = std::make_shared<RunOptions>();
  command
      ->add_option("--model", options->model_directory,
                   "A directory with model.safetensors and tokens.bin; else the built-in model")
      ->type_name("DIR");
  command->add_option("--preset", options->preset, "How pages are kept")
      ->type_name("raw|k8v8|k8v4|k4v4|k4v3|k3v3|k3v2|k2v2")
      ->capture_default_str();
  command->add_option("--n-token", options->n_token,
                      "Tokens of the chat (8192), or of each of six sequences (1024)");
  command->add_option("--chunk", options->chunk, "Tokens per forward")->capture_default_str();
  command->add_option("--row-type", options->row_type, "Type of the rows: f16 or f32")
      ->capture_default_str();
  add_device_option(*command, options->device);
  command->add_flag("--json", options->json, "Print JSON");
  command->footer("Examples:\n  kvault run --preset k3v3\n  kvault run --model DIR --json");
  command->callback([options, &exit_code] { exit_code = finish(run(*options)); });
}

}  // namespace kvault::tools
