#include "tools/eval/table_run.hpp"

#include <algorithm>
#include <fstream>
#include <map>

#include "tools/eval/eval_report.hpp"

namespace kvault::eval {
namespace {

using nlohmann::ordered_json;

Result<> write(const std::filesystem::path& file, const ordered_json& figures) {
  std::ofstream stream(file, std::ios::trunc);
  stream << figures.dump(1) << '\n';
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

/// A run's place among the options.
std::string base_key(const PlannedRun& run) {
  return message(run.group, run.stress, static_cast<int>(run.mode), run.base);
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
  std::map<std::string, std::vector<double>> bases;
  for (std::size_t i = 0; i < plan.size(); ++i) {
    const PlannedRun& run = plan[i];
    on_run(i);
    Lab& lab = labs.of(run);
    KVAULT_TRY(const LabScheme scheme, lab.scheme(run.scheme));
    KVAULT_TRY(const EvalScores scores, lab.run(scheme, run.mode, run.stress, {}));
    KVAULT_TRY(const Reference* const raw, lab.reference(run.stress));
    const std::string level = std::to_string(run.stress);
    if (!figures["raw_kl"].contains(level)) {
      KVAULT_TRY(figures["raw_kl"][level], lab.raw_kl(run.stress));
    }
    ordered_json row = {{"table", run.table}, {"group", run.group}, {"stress", run.stress}};
    row.update(json_of(summarise(lab.setup(), run.scheme, scores, *raw), true));
    if (!run.base.empty()) {
      row["base"] = run.base;
      row["mode"] = run.mode == Mode::live ? "live" : "codec-only";
      std::vector<double>& base = bases[base_key(run)];
      if (run.scheme == run.base) base = scores.kl;
      std::vector<double> difference = scores.kl;
      for (std::size_t t = 0; t < difference.size(); ++t) difference[t] -= base[t];
      const Interval interval = bootstrap(difference, tools::mean_of);
      row["difference_interval"] = ordered_json::array({interval.low, interval.high});
    }
    figures["rows"].push_back(std::move(row));
    KVAULT_CHECK(write(file, figures));
  }
  on_run(plan.size());
  return figures;
}

}  // namespace kvault::eval
