#include "tools/bench/calibrate_sparse.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "tools/bench/attend_variant.hpp"
#include "tools/bench/bench_device.hpp"
#include "tools/bench/layer_set.hpp"
#include "tools/bench/round_robin.hpp"
#include "tools/bench/sparse_use.hpp"

namespace kvault::tools {
namespace {

constexpr std::uint64_t kFirstLength = 1024;
constexpr std::uint64_t kLastLength = 65536;
Result<SparseTimes> measure_length(Device& device, const Preset& preset, const BenchShape& shape,
                                   const BenchOptions& options) {
  const LayerSet spread(preset, shape, options.set_size_bytes);
  const LayerSet peaked(preset, shape, options.set_size_bytes, Attention::first_page);
  const auto create = [&](const LayerSet& set, SparseUse use) {
    return AttendVariant::create(device, set, shape, 1, sparse_values_of(use));
  };
  KVAULT_TRY(const auto whole, create(spread, SparseUse::off));
  KVAULT_TRY(const auto none, create(spread, SparseUse::none_left_out));
  KVAULT_TRY(const auto all, create(peaked, SparseUse::all_left_out));
  const std::array<Variant*, 3> variants = {whole.get(), none.get(), all.get()};
  KVAULT_TRY(const std::vector<Samples> samples,
             measure_in_turn(variants, {options.n_repetition, options.min_time_s},
                             message(shape.n_token, " tokens")));
  return SparseTimes{shape.n_token, samples[0].median_us(), samples[1].median_us(),
                     samples[2].median_us()};
}

std::string percent(double ratio) { return format_number("%+.0f %%", (ratio - 1) * 100); }

}  // namespace

double SparseTimes::ratio_at(double share) const {
  return whole_us > 0 ? (none_us + share * (all_us - none_us)) / whole_us : 1;
}

double SparseTimes::break_even_share() const {
  const double gain = none_us - all_us;
  if (gain <= 0) return std::numeric_limits<double>::infinity();
  return std::max(0.0, (none_us - whole_us) / gain);
}

std::optional<std::uint64_t> least_paying_length(const std::vector<SparseTimes>& times) {
  std::optional<std::uint64_t> least;
  for (const SparseTimes& at : times) {
    const bool pays = at.ratio_at(0.5) <= 0.95 && at.break_even_share() <= 0.25;
    if (!pays) {
      least.reset();
    } else if (!least) {
      least = at.n_token;
    }
  }
  return least;
}

Result<SparseCalibration> calibrate_sparse_values(const BenchOptions& options) {
  const Preset preset = *find_preset(options.presets.front());
  if (preset.key == Scheme::raw) {
    return fail(Errc::unsupported, message("--calibrate needs coded keys, not ", preset.name));
  }
  KVAULT_TRY(const auto devices, open_bench_devices(options));
  Device& device = *devices.front().device;
  SparseCalibration answer = {.device = std::string(device.name()),
                              .instruction_set = std::string(device.caps().instruction_set),
                              .preset = std::string(preset.name),
                              .n_threads = options.n_threads.front(),
                              .times = {},
                              .n_token_min = {}};
  BenchShape shape = {options.n_head, options.n_kv_head, options.head_dims.front(), kFirstLength};
  for (; shape.n_token <= kLastLength; shape.n_token *= 2) {
    KVAULT_TRY(const SparseTimes times, measure_length(device, preset, shape, options));
    answer.times.push_back(times);
  }
  answer.n_token_min = least_paying_length(answer.times);
  return answer;
}

std::vector<std::vector<std::string>> table_of(const SparseCalibration& calibration) {
  std::vector<std::vector<std::string>> table = {{"tokens", "off us", "nothing left out",
                                                  "half left out", "all left out",
                                                  "pays from a share of"}};
  for (const SparseTimes& at : calibration.times) {
    const double share = at.break_even_share();
    table.push_back({std::to_string(at.n_token), format_number("%.1f", at.whole_us),
                     percent(at.ratio_at(0)), percent(at.ratio_at(0.5)), percent(at.ratio_at(1)),
                     share <= 1 ? format_number("%.0f %%", share * 100) : "never"});
  }
  return table;
}

std::string verdict_of(const SparseCalibration& calibration) {
  if (!calibration.n_token_min) return "sparse values do not pay here at any measured length";
  return message("sparse_n_token_min = ", *calibration.n_token_min,
                 ": from there on half of the pages left out save at least 5 %, and a quarter ",
                 "costs nothing");
}

Result<> write_calibration(const std::string& path, const SparseCalibration& calibration) {
  nlohmann::json document = {
      {"device", calibration.device},  {"instruction_set", calibration.instruction_set},
      {"preset", calibration.preset},  {"n_threads", calibration.n_threads},
      {"sparse_n_token_min", nullptr}, {"times", nlohmann::json::array()}};
  if (calibration.n_token_min) document["sparse_n_token_min"] = *calibration.n_token_min;
  for (const SparseTimes& at : calibration.times) {
    document["times"].push_back({{"n_token", at.n_token},
                                 {"off_us", at.whole_us},
                                 {"none_left_out_us", at.none_us},
                                 {"all_left_out_us", at.all_us}});
  }
  std::ofstream file(path);
  file << document.dump(2) << '\n';
  if (!file.flush()) return fail(Errc::io, message("cannot write ", path));
  return {};
}

}  // namespace kvault::tools
