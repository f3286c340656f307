#include <memory>

#include "tools/cli/commands.hpp"
#include "tools/cli/option_checks.hpp"
#include "tools/cli/report.hpp"
#include "tools/cli/roundtrip_job.hpp"

namespace kvault::tools {
namespace {

constexpr const char* kExamples =
    R"(X.npy: [n_kv_head, n_token, head_dim], f16 or f32. Full pages of
128 tokens are sealed; the rows of an incomplete page stay as they are and are not counted.

Examples:
  kvault roundtrip --input K.npy --side key --scheme tq4
  kvault roundtrip --input V.npy --side value --scheme tq3 --rule plain --json
  kvault roundtrip --input K.npy --scheme tq2 --no-centre --out R.npy)";

Result<int> roundtrip(const RoundtripFlags& flags) {
  KVAULT_TRY(const RoundtripAnswer answer, run_roundtrip(flags));
  const NpyArray& input = answer.input.array;
  if (!flags.out_path.empty()) {
    KVAULT_CHECK(write_npy(flags.out_path,
                           {NpyType::f4, input.shape, std::as_bytes(std::span(answer.rows))}));
  }
  const RoundtripError error = measure(answer);
  Report report;
  report.add("input", input.shape, message(format_shape(input.shape), " ", name_of(input.type)));
  report.add("side", flags.side);
  report.add("scheme", flags.scheme);
  report.add("rule", flags.rule);
  report.add("equalise", flags.equalise);
  report.add("device", flags.device);
  report.add("centred", answer.is_centred, answer.is_centred ? "yes" : "no");
  report.add("n_sealed_token", answer.n_sealed_token);
  report.add("n_block", answer.n_block);
  report.add("n_raw_block", answer.n_raw_block);
  report.add("bits_per_element", answer.bits_per_element,
             format_number("%.3f", answer.bits_per_element));
  report.add("relative_mse", error.relative_mse, format_number("%.3e", error.relative_mse));
  report.add("max_error", error.max_error, format_number("%.3e", error.max_error));
  report.add("mean_cosine", error.mean_cosine, format_number("%.6f", error.mean_cosine));
  report.add("min_cosine", error.min_cosine, format_number("%.6f", error.min_cosine));
  report.print(flags.json);
  return kExitDone;
}

}  // namespace

void add_roundtrip_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("roundtrip", "Rows through the codec and back");
  auto flags = std::make_shared<RoundtripFlags>();
  command->add_option("--input", flags->input_path, "Rows")->type_name("FILE")->required();
  command->add_option("--side", flags->side, "key or value")->capture_default_str();
  command->add_option("--scheme", flags->scheme, "raw, q8, tq4, tq3 or tq2")->capture_default_str();
  command->add_option("--rule", flags->rule, "unbiased, matched, least-squares or plain")
      ->capture_default_str();
  command
      ->add_option("--equalise", flags->equalise,
                   "Key channels: none, learn (from the first keys), or a file "
                   "[n_kv_head, head_dim]")
      ->capture_default_str();
  CLI::Option* centre = command->add_flag("--centre", flags->centre, "Centre values (keys are)");
  command->add_flag("--no-centre", flags->no_centre, "Do not centre keys (values are not)")
      ->excludes(centre);
  add_device_option(*command, flags->device);
  command->add_option("--threads", flags->n_thread, "Threads; 0: one per core")
      ->capture_default_str()
      ->check(whole_number(0));
  command->add_option("--out", flags->out_path, "Write the rows that came back, f32")
      ->type_name("FILE");
  command->add_flag("--json", flags->json, "Print JSON");
  command->footer(kExamples);
  command->callback([flags, &exit_code] { exit_code = finish(roundtrip(*flags)); });
}

}  // namespace kvault::tools
