#include "tools/eval/eval_command.hpp"

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "tools/cli/progress_bar.hpp"
#include "tools/cli/report.hpp"
#include "tools/eval/eval_report.hpp"
#include "tools/eval/lab.hpp"
#include "tools/eval/paper_report.hpp"
#include "tools/eval/quality_pages.hpp"
#include "tools/eval/table_run.hpp"

namespace kvault::tools {
namespace {

struct EvalOptions {
  eval::LabOptions lab;
  std::string preset = "k4v4";
  std::string baseline;
  std::uint32_t stress = 0;
  bool codec_only = false;
  bool json = false;
  bool details = false;
  bool paper = false;
  std::string all;     ///< directory of the whole table; empty: one scheme
  std::string render;  ///< directory of figures to make pages of
  std::string filter;  ///< of the whole table: only schemes that hold this
};

Result<eval::EvalScores> run_one(eval::Lab& lab, const EvalOptions& options,
                                 const std::string& text) {
  KVAULT_TRY(const eval::LabScheme scheme, lab.scheme(text));
  ProgressBar bar("eval " + text, eval::n_forward_of(lab.setup()), !options.json);
  return lab.run(scheme, options.codec_only ? eval::Mode::codec_only : eval::Mode::live,
                 options.stress, [&bar](std::size_t n_done) { bar.show(n_done); });
}

/// The pages of figures that were measured before.
Result<int> render(const EvalOptions& options) {
  const std::filesystem::path directory = options.render;
  std::ifstream stream(directory / "quality.json");
  const auto figures = nlohmann::ordered_json::parse(stream, nullptr, false);
  if (figures.is_discarded() || !figures.contains("rows")) {
    return fail(Errc::corrupt, message(directory.native(), "/quality.json holds no figures"));
  }
  KVAULT_CHECK(eval::write_pages(figures, directory));
  return kExitDone;
}

/// The whole table: quality.json, quality.md and quality.html.
Result<int> run_all(const EvalOptions& options) {
  const std::filesystem::path directory = options.all;
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return fail(Errc::io, message(options.all, ": ", error.message()));
  std::vector<eval::PlannedRun> plan = eval::whole_plan();
  std::erase_if(plan, [&options](const eval::PlannedRun& run) {
    const std::string label = run.table + ":" + run.scheme;
    const bool is_base = run.scheme == run.base && options.filter.starts_with("options:");
    return label.find(options.filter) == std::string::npos && !is_base;
  });
  ProgressBar bar("eval", plan.size(), !options.json);
  KVAULT_TRY(const nlohmann::ordered_json figures,
             eval::run_plan(options.lab, plan, directory / "quality.json",
                            [&bar](std::size_t n_done) { bar.show(n_done); }));
  KVAULT_CHECK(eval::write_pages(figures, directory));
  return kExitDone;
}

Result<int> run(const EvalOptions& options) {
  if (options.paper) {
    eval::print_paper_table(options.json);
    return kExitDone;
  }
  if (!options.render.empty()) return render(options);
  if (!options.all.empty()) return run_all(options);
  KVAULT_TRY(eval::Lab lab, eval::Lab::open(options.lab));
  KVAULT_TRY(const eval::EvalScores scores, run_one(lab, options, options.preset));
  KVAULT_TRY(const eval::Reference* const raw, lab.reference(options.stress));
  eval::EvalSummary summary = eval::summarise(lab.setup(), options.preset, scores, *raw);
  if (!options.baseline.empty()) {
    KVAULT_TRY(const eval::EvalScores base, run_one(lab, options, options.baseline));
    summary.baseline = options.baseline;
    summary.baseline_kl_mean = mean_of(base.kl);
    summary.baseline_kl_p999 = quantile_of(base.kl, 0.999);
  }
  if (options.json) {
    std::printf("%s\n", eval::json_of(summary, options.details).dump(2).c_str());
  } else {
    eval::print(summary);
  }
  return kExitDone;
}

}  // namespace

void add_eval_command(CLI::App& app, int& exit_code) {
  CLI::App* command =
      app.add_subcommand("eval", "Measure what a preset or codec costs a real model");
  auto options = std::make_shared<EvalOptions>();
  command
      ->add_option("--model", options->lab.model_directory,
                   "A directory with model.safetensors and tokens.bin")
      ->type_name("DIR");
  command
      ->add_option("--preset", options->preset,
                   "A preset, a rival or an experiment; options behind commas change its parts")
      ->type_name("NAME[,OPTION=VALUE]...")
      ->capture_default_str();
  command->add_flag("--codec-only", options->codec_only,
                    "Code every key and value; else the first page and the newest stay raw");
  command
      ->add_option("--stress", options->stress,
                   "Outliers in keys, undone in queries: 0 none, 4 as hard as Qwen2.5")
      ->type_name("LEVEL")
      ->capture_default_str();
  command
      ->add_option("--n-token", options->lab.n_token, "Tokens: 128 to 1024, or a multiple of 1024")
      ->capture_default_str();
  command->add_option("--baseline", options->baseline, "Another scheme to compare with")
      ->type_name("NAME[,OPTION=VALUE]...");
  command
      ->add_option("--recall", options->lab.n_recall,
                   "Texts that are repeated word for word, per distance; 0: none")
      ->capture_default_str();
  command->add_option("--threads", options->lab.n_thread, "Threads; 0: one per core")
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print JSON");
  command->add_flag("--details", options->details,
                    "JSON with intervals, recall, errors by head and by position in the page");
  command
      ->add_option("--all", options->all,
                   "Measure every scheme, rival and option; quality.json, .md and .html go here")
      ->type_name("DIR");
  command->add_option("--only", options->filter,
                      "Of --all: runs that hold this text, as TABLE:SCHEME (codec-only:k4v4)");
  command->add_flag("--paper", options->paper,
                    "Print the table of distortions of TurboQuant's paper, measured; no model");
  command->add_option("--render", options->render, "Only make the pages of DIR/quality.json anew")
      ->type_name("DIR");
  std::string footer = "Names beside the presets:\n";
  for (const eval::SchemeName& name : eval::scheme_names()) {
    footer += message("  ", name.name, ": ", name.what, "\n");
  }
  footer += message("Options, of one side behind `k.` or `v.`:\n", eval::scheme_options_help(),
                    "\nExamples:\n  kvault eval --model DIR --preset k3v3 --codec-only\n"
                    "  kvault eval --model DIR --preset k3v3,code=trellis --baseline rotated-q4_0\n"
                    "  kvault eval --model DIR --preset k4v4 --stress 4 --json\n"
                    "  kvault eval --model DIR --all figures/\n"
                    "  kvault eval --paper");
  command->footer(footer);
  command->callback([options, &exit_code] { exit_code = finish(run(*options)); });
}

}  // namespace kvault::tools
