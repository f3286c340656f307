#include "tools/eval/table_run.hpp"

#include <algorithm>
#include <fstream>
#include <map>

#include "tools/cli/report.hpp"
#include "tools/eval/eval_report.hpp"

namespace kvault::eval {
namespace {

using nlohmann::ordered_json;

/// Every number to six digits: more than the intervals allow, and half the text.
ordered_json rounded(const ordered_json& value) {
  if (value.is_number_float()) return std::stod(tools::format_number("%.6g", value));
  if (!value.is_structured()) return value;
  ordered_json result = value;
  for (ordered_json& item : result) item = rounded(item);
  return result;
}

/// One line per row, so that a difference between two runs can be read.
Result<> write(const std::filesystem::path& file, const ordered_json& figures) {
  std::ofstream stream(file, std::ios::trunc);
  stream << "{\n";
  for (const auto& [key, value] : figures.items()) {
    if (key != "rows") stream << ordered_json(key) << ": " << rounded(value) << ",\n";
  }
  stream << "\"rows\": [";
  const char* separator = "\n";
  for (const ordered_json& row : figures.at("rows")) {
    stream << separator << rounded(row);
    separator = ",\n";
  }
  stream << "\n]}\n";
  stream.close();
  if (!stream) return fail(Errc::io, message(file.native(), ": cannot be written"));
  return {};
}

/// Three laboratories: with recall, without, and with half the tokens.
struct Labs {
  Lab with_recall;
  Lab plain;
  Lab small;

  static Result<Labs> open(const LabOptions& options) {
    LabOptions plain = options;
    plain.n_recall = 0;
    LabOptions small = plain;
    small.n_token = std::max<std::uint64_t>(options.n_token / 2 / 1024, 1) * 1024;
    if (options.n_token < 1024) small.n_token = options.n_token;
    KVAULT_TRY(Lab first, Lab::open(options));
    KVAULT_TRY(Lab second, Lab::open(plain));
    KVAULT_TRY(Lab third, Lab::open(small));
    return Labs{std::move(first), std::move(second), std::move(third)};
  }

  Lab& of(const PlannedRun& run) {
    if (run.table == "options") return small;
    return run.table == "live" && run.stress == 0 ? with_recall : plain;
  }
};

/// What is measured, whatever table it is for.
std::string key_of(const PlannedRun& run) {
  return message(run.table == "options", " ", run.stress, " ", static_cast<int>(run.mode), " ",
                 run.scheme);
}

/// The scores of every run, made once: the base of an option comes with each of them.
class Scoreboard {
 public:
  explicit Scoreboard(Labs& labs) : labs_(labs) {}

  Result<const EvalScores*> of(const PlannedRun& run) {
    const auto [found, is_new] = scores_.try_emplace(key_of(run));
    if (!is_new) return &found->second;
    Lab& lab = labs_.of(run);
    KVAULT_TRY(const LabScheme scheme, lab.scheme(run.scheme));
    KVAULT_TRY(found->second, lab.run(scheme, run.mode, run.stress, {}));
    return &found->second;
  }

 private:
  Labs& labs_;
  std::map<std::string, EvalScores> scores_;
};

/// What sets a run of the options apart: what it is compared with, and by how much it differs.
Result<> add_difference(Scoreboard& board, const PlannedRun& run, const EvalScores& scores,
                        ordered_json& row) {
  PlannedRun base = run;
  base.scheme = run.base;
  KVAULT_TRY(const EvalScores* const compared, board.of(base));
  std::vector<double> difference = scores.kl;
  for (std::size_t t = 0; t < difference.size(); ++t) difference[t] -= compared->kl[t];
  const Interval interval = bootstrap(difference, tools::mean_of);
  row["base"] = run.base;
  row["mode"] = run.mode == Mode::live ? "live" : "codec-only";
  row["difference_interval"] = ordered_json::array({interval.low, interval.high});
  return {};
}

}  // namespace

Result<ordered_json> run_plan(const LabOptions& options, std::span<const PlannedRun> plan,
                              const std::filesystem::path& file, const OnRun& on_run) {
  KVAULT_TRY(Labs labs, Labs::open(options));
  const auto n_token_of = [](const Lab& lab) {
    return lab.setup().n_sequence * lab.setup().n_context;
  };
  ordered_json figures;
  figures["model"] = labs.plain.model().name();
  figures["n_token"] = n_token_of(labs.plain);
  figures["n_token_options"] = n_token_of(labs.small);
  figures["raw_kl"] = ordered_json::object();
  figures["rows"] = ordered_json::array();
  Scoreboard board(labs);
  for (std::size_t i = 0; i < plan.size(); ++i) {
    const PlannedRun& run = plan[i];
    on_run(i);
    Lab& lab = labs.of(run);
    KVAULT_TRY(const EvalScores* const scores, board.of(run));
    KVAULT_TRY(const Reference* const raw, lab.reference(run.stress));
    const std::string level = std::to_string(run.stress);
    if (!figures["raw_kl"].contains(level)) {
      KVAULT_TRY(figures["raw_kl"][level], lab.raw_kl(run.stress));
    }
    ordered_json row = {{"table", run.table}, {"group", run.group}, {"stress", run.stress}};
    row.update(json_of(summarise(lab.setup(), run.scheme, *scores, *raw), true));
    if (!run.base.empty()) KVAULT_CHECK(add_difference(board, run, *scores, row));
    figures["rows"].push_back(std::move(row));
    KVAULT_CHECK(write(file, figures));
  }
  on_run(plan.size());
  return figures;
}

}  // namespace kvault::eval
