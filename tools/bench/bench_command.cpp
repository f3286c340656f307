#include "tools/bench/bench_command.hpp"

#include <cstdio>
#include <fstream>
#include <optional>

#include "tools/bench/bench_run.hpp"
#include "tools/bench/bench_table.hpp"
#include "tools/bench/calibrate_sparse.hpp"
#include "tools/bench/compare_rows.hpp"
#include "tools/bench/ggml_attention.hpp"
#include "tools/bench/svg_plot.hpp"
#include "tools/cli/option_checks.hpp"
#include "tools/cli/report.hpp"

namespace kvault::tools {
namespace {

constexpr const char* kExplanation = R"(Lists are separated by commas and multiply. All variants of
one shape are measured in turn, round after round, so that they meet the same disturbances; kvault's
attention over raw f16 is always one of them ("f16 x" is the speedup over it). Every call works on
the next of as many layers as fill --set-bytes, so that K and V come from memory.

  us           median of one call on one layer; encode, reconstruct: of one page, all kv heads;
               upload: of a layer's bytes from the host's memory to the device's
  of memory's  stored bytes per second against what plain reading of the same memory reaches;
               not of a GPU's memory, which no verb only copies: look at "f16 x" there
  of ports'    the same against the integer dots alone (not of scalar and neon)

Examples:
  kvault-bench                                      decode at 16384 tokens, k4v4 against f16
  kvault-bench --preset k8v8,k4v4,k2v2 --n-threads 1,2 --json figures.json
  kvault-bench --n-token 1024,4096,16384,65536 --svg decode.svg
  kvault-bench --op prefill --n-q 4,128,512 --instruction-set avx512,avx2
  kvault-bench --op encode,reconstruct --head-dim 64,128,256
  kvault-bench --device cuda --n-sequence 8         one token each of eight chats in one call
  kvault-bench --device vulkan:0 --preset k4v4,k2v2 any device of `kvault devices`
  kvault-bench --device vulkan --report docs/benchmarks
                                                    a page of figures named after the GPU
  kvault-bench --device vulkan --report gpu.md --quick
  kvault-bench --compare before.json after.json     ratios of time, after over before
  kvault-bench --calibrate sparse.json              where leaving out values pays
  kvault-bench --daemon                             resume, saves and requests of a kvaultd
  kvault-bench --peer ggml=DIR                      also llama.cpp's attention; DIR holds libggml*

Exit status: 0 done, 1 the peer does not compute attention, 2 not done.)";

void add_shape_options(CLI::App& app, BenchOptions& options) {
  app.add_option("--n-token", options.n_tokens, "Length of the context")
      ->delimiter(',')
      ->type_name("N,...")
      ->capture_default_str()
      ->check(whole_number(1));
  app.add_option("--n-head", options.n_head, "Query heads")
      ->type_name("N")
      ->capture_default_str()
      ->check(whole_number(1));
  app.add_option("--n-kv-head", options.n_kv_head, "Heads of K and V")
      ->type_name("N")
      ->capture_default_str()
      ->check(whole_number(1));
  app.add_option("--head-dim", options.head_dims, "Entries of a row of a head")
      ->delimiter(',')
      ->type_name("N,...")
      ->capture_default_str()
      ->check(whole_number(1));
  app.add_option("--n-sequence", options.n_sequence, "Chats of a call of decode or prefill")
      ->type_name("N")
      ->capture_default_str()
      ->check(whole_number(1));
  app.add_option("--n-q", options.n_qs, "Queries of a prefill, at the end of the context")
      ->delimiter(',')
      ->type_name("N,...")
      ->capture_default_str()
      ->check(whole_number(1));
}

void add_device_options(CLI::App& app, BenchOptions& options) {
  app.add_option("--preset", options.presets, "raw, k8v8, k8v4, k4v4, k4v3, k3v3, k3v2, k2v2")
      ->delimiter(',')
      ->type_name("NAME,...")
      ->capture_default_str();
  app.add_option("--n-threads", options.n_threads, "Threads of the cpu device")
      ->delimiter(',')
      ->type_name("N,...")
      ->capture_default_str()
      ->check(whole_number(1));
  app.add_option(
         "--instruction-set", options.instruction_sets,
         "amx, avx512, avx_vnni, avx2, neon or scalar; by default the best of this processor")
      ->delimiter(',')
      ->type_name("NAME,...");
  add_device_option(app, options.device);
  app.add_option("--peer", options.peer, "Another implementation to measure in turn with kvault")
      ->type_name("ggml=DIR");
}

void add_measuring_options(CLI::App& app, BenchOptions& options) {
  app.add_option("--set-bytes", options.set_size_bytes,
                 "Memory that the layers of a variant fill at least; 64MiB, 1GiB")
      ->type_name("SIZE")
      ->default_str("256MiB")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--repetitions", options.n_repetition, "Rounds, whatever time they take")
      ->type_name("N")
      ->check(whole_number(1));
  app.add_option("--min-time", options.min_time_s,
                 "Seconds per variant and shape; 5 rounds at least")
      ->type_name("S")
      ->capture_default_str();
}

Result<int> calibrate(const BenchFlags& flags) {
  KVAULT_TRY(const SparseCalibration answer, calibrate_sparse_values(flags.options));
  print_columns(table_of(answer));
  std::printf("%s\n", verdict_of(answer).c_str());
  KVAULT_CHECK(write_calibration(flags.calibration_path, answer));
  return kExitDone;
}

Result<int> compare_files(const BenchFlags& flags) {
  KVAULT_TRY(const std::vector<BenchRow> before, read_rows(flags.compared_paths[0]));
  KVAULT_TRY(const std::vector<BenchRow> after, read_rows(flags.compared_paths[1]));
  KVAULT_TRY(const RowComparison comparison, compare_rows(before, after));
  print_columns(table_of(comparison));
  return kExitDone;
}

Result<int> measure_and_print(const BenchFlags& flags) {
  KVAULT_TRY(const std::vector<Figure> figures, measure_daemon(flags.daemon));
  const std::string json = to_json(figures).dump(2) + "\n";
  if (flags.has_json && flags.json_path.empty()) {
    std::fputs(json.c_str(), stdout);
  } else {
    print_columns(table_of(figures));
  }
  if (flags.json_path.empty()) return kExitDone;
  std::ofstream stream(flags.json_path);
  stream << json;
  stream.close();
  if (!stream) return fail(Errc::io, message("cannot write ", flags.json_path));
  return kExitDone;
}

}  // namespace

void add_bench_options(CLI::App& app, BenchFlags& flags) {
  app.add_option("--op", flags.ops, "decode, prefill, encode, reconstruct, all of these, or upload")
      ->delimiter(',')
      ->type_name("NAME,...")
      ->capture_default_str();
  add_shape_options(app, flags.options);
  add_device_options(app, flags.options);
  add_measuring_options(app, flags.options);
  app.add_option_function<std::string>(
         "--json",
         [&flags](const std::string& path) {
           flags.has_json = true;
           flags.json_path = path;
         },
         "Write the rows as a JSON list to FILE, or print nothing else")
      ->type_name("[FILE]")
      ->expected(0, 1);
  app.add_option("--svg", flags.svg_path, "Draw time against context")->type_name("FILE");
  app.add_option("--compare", flags.compared_paths, "Compare two files of --json; measures nothing")
      ->type_name("BEFORE AFTER")
      ->expected(2);
  app.add_option("--calibrate", flags.calibration_path,
                 "Measure from what context on sparse values pay here, and write the answer")
      ->type_name("FILE");
  add_report_options(app, flags.report);
  add_daemon_options(app, flags.daemon);
  app.footer(kExplanation);
}

Result<int> run_bench_command(BenchFlags& flags) {
  if (!flags.compared_paths.empty()) return compare_files(flags);
  if (flags.daemon.is_asked) return measure_and_print(flags);
  KVAULT_TRY(flags.options.ops, parse_bench_ops(flags.ops));
  KVAULT_CHECK(check_bench_options(flags.options));
  // Now, not after minutes of measuring.
  for (const std::string& path : {flags.json_path, flags.svg_path, flags.calibration_path}) {
    if (!path.empty() && !std::ofstream(path, std::ios::app)) {
      return fail(Errc::io, message("cannot write ", path));
    }
  }
  if (!flags.report.target.empty()) return run_report(flags.report, flags.options);
  if (!flags.calibration_path.empty()) return calibrate(flags);
  std::optional<GgmlPeer> peer;
  if (!flags.options.peer.empty()) {
    KVAULT_TRY(const std::string folder, parse_peer(flags.options.peer));
    KVAULT_TRY(peer, GgmlPeer::load(folder));
    KVAULT_TRY(const double error, ggml_attention_error(*peer));
    if (!(error <= kGgmlErrorMax)) {
      std::fprintf(stderr, "kvault-bench: ggml %s does not compute attention: error %.3g\n",
                   peer->version().c_str(), error);
      return kExitBad;
    }
  }
  KVAULT_TRY(const std::vector<BenchRow> rows, run_bench(flags.options, peer ? &*peer : nullptr));
  if (flags.has_json && flags.json_path.empty()) {
    std::fputs(to_json(rows).c_str(), stdout);
  } else {
    print_columns(table_of(rows));
  }
  if (!flags.json_path.empty()) KVAULT_CHECK(write_rows(flags.json_path, rows));
  if (!flags.svg_path.empty()) KVAULT_CHECK(write_svg(flags.svg_path, rows));
  return kExitDone;
}

}  // namespace kvault::tools
