#include "tools/demo/demo_command.hpp"

#include <cstdio>
#include <memory>
#include <span>

#include "kvault_backends.hpp"
#include "tools/cli/option_checks.hpp"
#include "tools/cli/report.hpp"
#include "tools/demo/demo_app.hpp"
#include "tools/demo/demo_compare.hpp"
#include "tools/demo/demo_report.hpp"
#include "tools/demo/demo_run.hpp"
#include "tools/model/hash.hpp"
#include "tools/model/sdk_result.hpp"

namespace kvault::tools {
namespace {

constexpr std::uint64_t kEmulatedTokens = 1024;

struct DemoOptions {
  WorkloadOptions workload;
  bool json = false;
  bool keep = false;
};

Result<DiskNumbers> look_at_disk(const DemoStage& stage) {
  KVAULT_TRY(sdk::Client client, stage.connect());
  KVAULT_TRY(const kvault_daemon_stats stats, from_sdk(client.stats(), "stats"));
  KVAULT_TRY(const kvault_verify_report report, from_sdk(client.verify(), "verify"));
  return DiskNumbers{.live_bytes = stats.live_size_bytes,
                     .pack_bytes = stats.pack_size_bytes,
                     .n_damaged = report.n_damaged};
}

/// The usual chat takes minutes on a GPU that a driver on the CPU emulates: there, unless a length
/// is asked for, it is shorter.
Result<> shorten_if_emulated(WorkloadOptions& options) {
  if (options.n_token != 0 || options.device == "cpu") return {};
  KVAULT_TRY(const std::unique_ptr<Device> device, open_device(options.device));
  if (!device->caps().is_emulated) return {};
  options.n_token = kEmulatedTokens;
  std::fprintf(stderr, "kvault: %s is emulated on the CPU: a chat of %llu tokens\n",
               options.device.c_str(), static_cast<unsigned long long>(options.n_token));
  return {};
}

Result<int> run_demo(DemoOptions options) {
  KVAULT_CHECK(shorten_if_emulated(options.workload));
  KVAULT_TRY(const Workload workload, Workload::create(options.workload));
  // A device or shape that cannot be is told before anything is started.
  KVAULT_CHECK(from_sdk(sdk::Cache::create(workload.cache_options()), "cache"));
  KVAULT_TRY(DemoStage stage, DemoStage::create(options.workload, options.keep));
  if (options.keep) std::fprintf(stderr, "kvault: kept in %s\n", stage.directory().c_str());
  const bool with_progress = !options.json;
  DemoOutcome outcome;
  outcome.preset = options.workload.preset;
  KVAULT_TRY(outcome.seen, run_interrupted(workload, stage, with_progress));
  KVAULT_TRY(outcome.disk, look_at_disk(stage));
  KVAULT_TRY(outcome.plain,
             run_uninterrupted(workload, outcome.seen, stage.logits_file(), with_progress));
  outcome.is_same_session =
      outcome.seen.n_token == outcome.plain.tokens.size() &&
      outcome.seen.tokens_hash == hash_of(std::as_bytes(std::span(outcome.plain.tokens)));
  KVAULT_TRY(outcome.raw, run_raw(workload, outcome.plain, stage.logits_file(), with_progress));
  KVAULT_TRY(outcome.reprefill_ms,
             measure_reprefill(workload, outcome.plain, outcome.seen.resumed_at, with_progress));
  return print_outcome(outcome, options.json);
}

void add_workload_options(CLI::App& command, WorkloadOptions& options) {
  command.add_option("--n-token", options.n_token,
                     "Tokens of the chat: 8192, or 2048 with --model, or 1024 on an emulated GPU; "
                     "32768 is the long form");
  command.add_option("--preset", options.preset, "How pages are kept")
      ->type_name("raw|k8v8|k8v4|k4v4|k4v3|k3v3|k3v2|k2v2")
      ->capture_default_str();
  command
      .add_option("--model", options.model_directory,
                  "A real model: a directory with model.safetensors and tokens.bin")
      ->type_name("DIR");
  add_device_option(command, options.device);
}

}  // namespace

void add_demo_command(CLI::App& app, int& exit_code) {
  CLI::App* demo = app.add_subcommand(
      "demo", "Kill a chat and its daemon halfway, resume both, and compare bit for bit");
  auto options = std::make_shared<DemoOptions>();
  add_workload_options(*demo, options->workload);
  demo->add_flag("--json", options->json, "Print JSON");
  demo->add_flag("--keep", options->keep, "Keep the demo's directory");
  demo->footer(
      "Examples:\n  kvault demo\n  kvault demo --preset k3v3 --n-token 32768 --json\n"
      "  kvault demo --device vulkan");
  demo->callback([options, &exit_code] { exit_code = finish(run_demo(*options)); });

  CLI::App* helper = app.add_subcommand("demo-app", "The program that the demo kills");
  auto helper_options = std::make_shared<DemoAppOptions>();
  add_workload_options(*helper, helper_options->workload);
  helper->add_option("--socket", helper_options->socket_path, "Socket of kvaultd")->required();
  helper->add_option("--session", helper_options->session, "Name of the session")->required();
  helper->add_option("--logits", helper_options->logits_file, "Where logits go")->required();
  helper->group("");
  helper->callback(
      [helper_options, &exit_code] { exit_code = finish(run_demo_app(*helper_options)); });
}

}  // namespace kvault::tools
