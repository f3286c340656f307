#include "tools/bench/bench_run.hpp"

#include <algorithm>
#include <new>

#include "tools/bench/bench_device.hpp"
#include "tools/bench/bench_group.hpp"
#include "tools/bench/ggml_group.hpp"
#include "tools/bench/shape_bench.hpp"

namespace kvault::tools {
namespace {

/// The presets to measure, raw first and each once.
std::vector<Preset> chosen_presets(const BenchOptions& options) {
  std::vector<Preset> chosen = {*find_preset("raw")};
  for (const std::string& name : options.presets) {
    const Preset preset = *find_preset(name);
    const bool is_new = std::none_of(chosen.begin(), chosen.end(),
                                     [&](const Preset& p) { return p.name == preset.name; });
    if (is_new) chosen.push_back(preset);
  }
  return chosen;
}

/// Queries per call: a list for prefill only.
std::vector<std::uint32_t> n_qs_of(const BenchOptions& options, BenchOp op) {
  if (op == BenchOp::prefill) return options.n_qs;
  return {1};
}

/// Measures one op on one shape: every device and preset, and the peer, in turn.
class OpBench {
 public:
  OpBench(const BenchOptions& options, const BenchShape& shape,
          const std::vector<BenchDevice>& devices, const GgmlPeer* peer)
      : options_(options),
        shape_(shape),
        devices_(devices),
        peer_(peer),
        bench_(shape, options.set_size_bytes) {}

  Result<std::vector<BenchRow>> run(BenchOp op, std::uint32_t n_q);

 private:
  Result<std::vector<Contestant>> enter_all(BenchOp op, std::uint32_t n_q);

  const BenchOptions& options_;
  BenchShape shape_;
  const std::vector<BenchDevice>& devices_;
  const GgmlPeer* peer_;
  ShapeBench bench_;
};

Result<std::vector<Contestant>> OpBench::enter_all(BenchOp op, std::uint32_t n_q) {
  std::vector<Contestant> contestants;
  for (const BenchDevice& device : devices_) {
    const std::size_t base = contestants.size();
    for (const Preset& preset : chosen_presets(options_)) {
      if (op == BenchOp::encode && preset.key == Scheme::raw) continue;
      KVAULT_TRY(Contestant contestant,
                 bench_.enter(device, {.op = op, .n_q = n_q, .preset = preset}));
      if (has_base(op)) contestant.base = base;
      contestants.push_back(std::move(contestant));
    }
  }
  return contestants;
}

Result<std::vector<BenchRow>> OpBench::run(BenchOp op, std::uint32_t n_q) {
  std::vector<GgmlLayers> peer_layers;
  KVAULT_TRY(std::vector<Contestant> contestants, enter_all(op, n_q));
  if (peer_ != nullptr && is_attention(op)) {
    KVAULT_TRY(peer_layers, build_ggml_layers(*peer_, shape_, n_q, options_.set_size_bytes));
    KVAULT_CHECK(enter_ggml(*peer_, op, peer_layers, options_.n_threads, contestants));
  }
  return measure_group(contestants, {options_.n_repetition, options_.min_time_s},
                       message(name_of(op), " ", shape_.n_token, " x ", shape_.head_dim));
}

}  // namespace

Result<std::vector<BenchRow>> run_bench(const BenchOptions& options, const GgmlPeer* peer) try {
  KVAULT_TRY(const std::vector<BenchDevice> devices, open_bench_devices(options));
  std::vector<BenchRow> rows;
  for (const std::uint32_t head_dim : options.head_dims) {
    for (const std::uint64_t n_token : options.n_tokens) {
      const BenchShape shape = {options.n_head, options.n_kv_head, head_dim, n_token,
                                options.n_sequence};
      OpBench bench(options, shape, devices, peer);
      for (const BenchOp op : options.ops) {
        for (const std::uint32_t n_q : n_qs_of(options, op)) {
          KVAULT_TRY(std::vector<BenchRow> more, bench.run(op, n_q));
          rows.insert(rows.end(), more.begin(), more.end());
        }
      }
    }
  }
  return rows;
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, message("no memory for sets of ", options.set_size_bytes,
                                           " bytes (--set-bytes) per preset"));
}

}  // namespace kvault::tools
