#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>

#include "tools/cli/attend_cache.hpp"
#include "tools/cli/attend_job.hpp"
#include "tools/cli/attend_oracle.hpp"
#include "tools/cli/commands.hpp"
#include "tools/cli/option_checks.hpp"
#include "tools/cli/report.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

/// Of the output, per (head, query): |o - o*| / max(|o*|, sqrt(sum p^2 |v|^2)).
constexpr double kErrorMax = 2e-3;
/// Of the log-sum-exp, beside the last bits of a large float.
constexpr double kLseErrorMax = 1e-3;
constexpr double kLseRounding = 0x1p-22;

constexpr double kNever = std::numeric_limits<double>::infinity();

constexpr const char* kExamples = R"(Arrays (.npy, C order):
  K, V  [n_kv_head, n_token, head_dim]  f16 or f32, both the same; head_dim of V may differ
  Q     [n_head, n_q, head_dim]         f16 or f32; query i stands at valid_length - n_q + i
  mask  [n_q, n_token]                  bool, true = visible
  O     [n_head, n_q, head_dim of V]    f32
  L     [n_head, n_q]                   f32, log-sum-exp of the logits
Rows at and beyond --valid-length are never looked at, even where they are NaN.
A query that sees no key gives zeros, and -inf in L.

Examples:
  kvault attend --k K.npy --v V.npy --q Q.npy --out O.npy --lse L.npy
  kvault attend --k K.npy --v V.npy --q Q.npy --preset k3v3 --causal --check
  kvault attend --k K.npy --v V.npy --q Q.npy --device oracle --raw-pages none --out O.npy)";

/// How far an answer is from the oracle's.
struct Verdict {
  double error = 0;
  double lse_error = 0;
  bool is_good() const { return error <= kErrorMax && lse_error <= kLseErrorMax; }
};

Verdict compare(const oracle::AttendOutput& exact, const AttendAnswer& answer,
                std::uint32_t value_head_dim) {
  Verdict verdict{oracle::worst_error(exact, answer.out, value_head_dim), 0};
  for (std::size_t row = 0; row < exact.lse.size(); ++row) {
    const auto lse = static_cast<double>(answer.lse[row]);
    if (lse == exact.lse[row]) continue;  // also -infinity on both sides
    const double error = std::fabs(lse - exact.lse[row]) - kLseRounding * std::fabs(exact.lse[row]);
    verdict.lse_error = std::max(verdict.lse_error, std::isnan(error) ? kNever : error);
  }
  return verdict;
}

AttendAnswer round_to_float(const oracle::AttendOutput& exact) {
  AttendAnswer answer;
  for (const double entry : exact.out) answer.out.push_back(static_cast<float>(entry));
  for (const double entry : exact.lse) answer.lse.push_back(static_cast<float>(entry));
  return answer;
}

Result<> write_answer(const AttendFlags& flags, const AttendJob& job, const AttendAnswer& answer) {
  const std::uint64_t n_head = job.layer.n_head;
  const std::uint64_t dim = job.layer.value_head_dim;
  const auto write = [&](const std::string& path, std::span<const float> values,
                         std::vector<std::uint64_t> shape) -> Result<> {
    if (path.empty()) return {};
    const std::uint64_t width = shape.size() == 3 ? dim : 1;
    const std::vector<float> ordered =
        swap_outer(values, std::vector<std::uint64_t>{job.n_q, n_head, width});
    return write_npy(path, {NpyType::f4, shape, std::as_bytes(std::span(ordered))});
  };
  KVAULT_CHECK(write(flags.out_path, answer.out, {n_head, job.n_q, dim}));
  return write(flags.lse_path, answer.lse, {n_head, job.n_q});
}

void describe_input(const AttendFlags& flags, const AttendJob& job, Report& report) {
  const auto add_array = [&](const char* name, const NamedArray& rows) {
    report.add(name, rows.array.shape,
               message(format_shape(rows.array.shape), " ", name_of(rows.array.type)));
  };
  add_array("k", job.keys);
  add_array("v", job.values);
  const std::vector<std::uint64_t> q_shape = {job.layer.n_head, job.n_q, job.layer.key_head_dim};
  report.add("q", q_shape, format_shape(q_shape));
  report.add("valid_length", job.n_valid);
  report.add("preset", flags.preset);
  report.add("device", flags.device);
  report.add("raw_pages", flags.raw_pages);
  report.add("equalise", flags.equalise);
  report.add("causal", job.causal, job.causal ? "yes" : "no");
}

Result<int> attend(const AttendFlags& flags) {
  KVAULT_TRY(const AttendJob job, load_attend_job(flags));
  const bool by_oracle = flags.device == "oracle";
  KVAULT_TRY(sdk::Cache cache, create_cache(job, by_oracle ? "cpu" : flags.device));
  const auto start = std::chrono::steady_clock::now();
  AttendAnswer answer;
  if (by_oracle && !flags.check) {
    KVAULT_CHECK(append_all(job, cache.view(), !flags.json));
  } else {
    KVAULT_TRY(answer, attend_with_cache(job, cache.view(), !flags.json));
  }
  Verdict verdict;
  std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  if (by_oracle || flags.check) {
    KVAULT_TRY(const oracle::AttendOutput exact, attend_by_oracle(job, cache.view(), !flags.json));
    if (flags.check) verdict = compare(exact, answer, job.layer.value_head_dim);
    if (by_oracle) {
      answer = round_to_float(exact);
      time = std::chrono::steady_clock::now() - start;
    }
  }
  KVAULT_CHECK(write_answer(flags, job, answer));
  KVAULT_TRY(const kvault_cache_stats stats, from_sdk(cache->stats(), "stats"));

  Report report;
  describe_input(flags, job, report);
  report.add("n_sealed_page", stats.n_sealed_page);
  report.add("bits_per_element", stats.bits_per_element,
             format_number("%.3f", stats.bits_per_element));
  report.add("time_s", time.count(), format_duration(time.count()));
  if (flags.check) {
    report.add("error", verdict.error,
               format_number("%.2e", verdict.error) + format_number(" (limit %.0e)", kErrorMax));
    report.add(
        "lse_error", verdict.lse_error,
        format_number("%.2e", verdict.lse_error) + format_number(" (limit %.0e)", kLseErrorMax));
    report.add("check", verdict.is_good() ? "passed" : "FAILED");
  }
  report.print(flags.json);
  return flags.check && !verdict.is_good() ? kExitBad : kExitDone;
}

void add_options(CLI::App& command, AttendFlags& flags) {
  const auto add_path = [&](const char* name, std::string& path, const char* text) {
    return command.add_option(name, path, text)->type_name("FILE");
  };
  add_path("--k", flags.key_path, "Keys")->required();
  add_path("--v", flags.value_path, "Values")->required();
  add_path("--q", flags.q_path, "Queries")->required();
  command.add_option("--preset", flags.preset, "raw, k8v8, k8v4, k4v4, k4v3, k3v3, k3v2 or k2v2")
      ->capture_default_str();
  add_device_option(command, flags.device, "; or oracle: double precision");
  command.add_flag("--causal", flags.causal, "A query sees no later key");
  command.add_option("--window", flags.window, "A query sees its newest N keys; 0: all")
      ->type_name("N")
      ->check(whole_number(0));
  add_path("--mask", flags.mask_path, "Which keys each query sees");
  command.add_option("--valid-length", flags.valid_length, "Only the first N tokens exist")
      ->type_name("N")
      ->check(whole_number(0));
  command.add_option("--softcap", flags.logit_softcap, "Logits become X * tanh(logit / X)")
      ->type_name("X");
  command
      .add_option("--sparse-values", flags.sparse_threshold,
                  "Leave out values that hold less than X of a row's probability in all; 0: none")
      ->type_name("X");
  command
      .add_option("--sparse-tokens", flags.sparse_n_token_min,
                  "Only in contexts of at least N tokens")
      ->type_name("N")
      ->check(whole_number(0));
  command.add_option("--scale", flags.softmax_scale, "Of the logits; 1/sqrt(head_dim)")
      ->type_name("X");
  command
      .add_option("--equalise", flags.equalise,
                  "Key channels: learn from the queries and first keys, none, or a file "
                  "[n_kv_head, head_dim]")
      ->capture_default_str();
  command
      .add_option("--raw-pages", flags.raw_pages,
                  "What stays raw: 'sink,tail' (first page, newest 128 to 255 tokens) or 'none'")
      ->capture_default_str();
  command.add_option("--chunk", flags.chunk, "Tokens handed over per call")
      ->capture_default_str()
      ->check(whole_number(1));
  command.add_option("--threads", flags.n_thread, "Threads; 0: one per core")
      ->capture_default_str()
      ->check(whole_number(0));
  add_path("--out", flags.out_path, "Write O");
  add_path("--lse", flags.lse_path, "Write L");
  command.add_flag("--check", flags.check,
                   "Compare with the oracle; exit status 1 where an error exceeds 2e-3");
  command.add_flag("--json", flags.json, "Print JSON");
}

}  // namespace

void add_attend_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("attend", "Attend over keys and values of .npy files");
  auto flags = std::make_shared<AttendFlags>();
  add_options(*command, *flags);
  command->footer(kExamples);
  command->callback([flags, &exit_code] { exit_code = finish(attend(*flags)); });
}

}  // namespace kvault::tools
