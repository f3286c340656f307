#include "tools/bench/bench_run.hpp"

#include <algorithm>
#include <memory>
#include <new>
#include <optional>

#include "kvault_backends.hpp"
#include "tools/bench/attend_variant.hpp"
#include "tools/bench/bench_group.hpp"
#include "tools/bench/encode_variant.hpp"
#include "tools/bench/ggml_group.hpp"
#include "tools/bench/layer_set.hpp"
#include "tools/bench/limits.hpp"
#include "tools/bench/reconstruct_variant.hpp"

namespace kvault::tools {
namespace {

std::optional<cpu::InstructionSet> find_instruction_set(std::string_view name) {
  for (const cpu::InstructionSet set : cpu::compiled_instruction_sets()) {
    if (cpu::name_of(set) == name) return set;
  }
  return std::nullopt;
}

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

bool is_attention(BenchOp op) { return op == BenchOp::decode || op == BenchOp::prefill; }

/// Builds the contestants of one shape.
class ShapeBench {
 public:
  ShapeBench(const BenchOptions& options, const BenchShape& shape,
             std::span<const std::unique_ptr<Device>> devices, const GgmlPeer* peer)
      : options_(options), shape_(shape), devices_(devices), peer_(peer) {
    for (const Preset& preset : chosen_presets(options)) {
      sets_.emplace_back(preset, shape, options.set_size_bytes);
    }
  }

  Result<std::vector<BenchRow>> run(BenchOp op);

 private:
  Result<Contestant> enter(BenchOp op, Device& device, const LayerSet& set);
  Result<std::unique_ptr<Variant>> make_variant(BenchOp op, Device& device, const LayerSet& set);
  std::uint32_t n_q_of(BenchOp op) const;

  const BenchOptions& options_;
  BenchShape shape_;
  std::span<const std::unique_ptr<Device>> devices_;
  const GgmlPeer* peer_;
  std::vector<LayerSet> sets_;  ///< raw first
};

Result<std::vector<BenchRow>> ShapeBench::run(BenchOp op) {
  std::vector<GgmlLayers> peer_layers;
  std::vector<Contestant> contestants;
  for (const std::unique_ptr<Device>& device : devices_) {
    const std::size_t base = contestants.size();
    for (const LayerSet& set : sets_) {
      if (op == BenchOp::encode && set.preset().key == Scheme::raw) continue;
      KVAULT_TRY(Contestant contestant, enter(op, *device, set));
      if (op != BenchOp::encode) contestant.base = base;
      contestants.push_back(std::move(contestant));
    }
  }
  if (peer_ != nullptr && is_attention(op)) {
    KVAULT_TRY(peer_layers, build_ggml_layers(*peer_, shape_, n_q_of(op), options_.set_size_bytes));
    KVAULT_CHECK(enter_ggml(*peer_, op, peer_layers, options_.n_threads, contestants));
  }
  return measure_group(contestants, {options_.n_repetition, options_.min_time_s},
                       message(name_of(op), " ", shape_.n_token, " x ", shape_.head_dim));
}

std::uint32_t ShapeBench::n_q_of(BenchOp op) const {
  if (op == BenchOp::prefill) return options_.n_q;
  return op == BenchOp::decode ? 1 : 0;
}

Result<std::unique_ptr<Variant>> ShapeBench::make_variant(BenchOp op, Device& device,
                                                          const LayerSet& set) {
  switch (op) {
    case BenchOp::decode:
    case BenchOp::prefill:
      return AttendVariant::create(device, set, shape_, n_q_of(op));
    case BenchOp::encode:
      return EncodeVariant::create(device, sets_.front(), set.preset(), shape_);
    case BenchOp::reconstruct:
      return ReconstructVariant::create(device, set, shape_);
  }
  return fail(Errc::internal, "an op without a variant");
}

Result<Contestant> ShapeBench::enter(BenchOp op, Device& device, const LayerSet& set) {
  const LayerSet& source = op == BenchOp::encode ? sets_.front() : set;
  Contestant contestant;
  KVAULT_TRY(contestant.variant, make_variant(op, device, set));
  contestant.row = {.op = std::string(name_of(op)),
                    .device = std::string(device.name()),
                    .preset = std::string(set.preset().name),
                    .layout = "",
                    .instruction_set = std::string(device.caps().instruction_set),
                    .head_dim = shape_.head_dim,
                    .n_head = shape_.n_head,
                    .n_kv_head = shape_.n_kv_head,
                    .n_token = shape_.n_token,
                    .n_q = n_q_of(op),
                    .n_thread = device.caps().n_thread,
                    .set_size_bytes = source.size_bytes(),
                    .page_size_bytes = memory_page_size_bytes()};
  const std::uint64_t pair_bytes = pair_size_bytes(set.preset(), shape_.head_dim);
  contestant.f16_size_bytes = page_f16_size_bytes(shape_);
  contestant.stored_size_bytes = is_attention(op) ? layer_stored_size_bytes(set.preset(), shape_)
                                                  : pair_bytes * shape_.n_kv_head;
  contestant.memory = source.bytes();
  const auto instructions = find_instruction_set(contestant.row.instruction_set);
  if (is_attention(op) && instructions && set.preset().key != Scheme::raw) {
    const std::uint32_t n_row = n_q_of(op) * (shape_.n_head / shape_.n_kv_head);
    contestant.dot_set = *instructions;
    contestant.n_dot = dots_per_pair(*instructions, n_row, shape_.head_dim) *
                       static_cast<double>(set.pages().size());
  }
  return contestant;
}

}  // namespace

Result<std::vector<std::unique_ptr<Device>>> open_bench_devices(const BenchOptions& options) {
  const auto entries = backends();
  const auto entry = std::find_if(entries.begin(), entries.end(),
                                  [&](const BackendEntry& e) { return e.name == options.device; });
  if (entry == entries.end()) {
    std::string known;
    for (const BackendEntry& e : entries) known += message(known.empty() ? "" : ", ", e.name);
    return fail(Errc::invalid_argument,
                message("--device \"", options.device, "\" is not one of this build's: ", known));
  }
  if (options.device != "cpu" && !options.instruction_sets.empty()) {
    return fail(Errc::invalid_argument, "--instruction-set belongs to --device cpu");
  }
  std::vector<std::string> sets = options.instruction_sets;
  if (sets.empty()) sets.emplace_back();
  std::vector<std::unique_ptr<Device>> devices;
  for (const std::string& set : sets) {
    for (const std::uint32_t n_thread : options.n_threads) {
      KVAULT_TRY(std::unique_ptr<Device> device,
                 entry->open({.n_thread = n_thread, .instruction_set = set}));
      devices.push_back(std::move(device));
      if (devices.back()->caps().n_thread == 0) return devices;  // it has no threads to vary
    }
  }
  return devices;
}

Result<std::vector<BenchRow>> run_bench(const BenchOptions& options, const GgmlPeer* peer) try {
  KVAULT_TRY(const std::vector<std::unique_ptr<Device>> devices, open_bench_devices(options));
  std::vector<BenchRow> rows;
  for (const std::uint32_t head_dim : options.head_dims) {
    for (const std::uint64_t n_token : options.n_tokens) {
      const BenchShape shape = {options.n_head, options.n_kv_head, head_dim, n_token};
      ShapeBench bench(options, shape, devices, peer);
      for (const BenchOp op : options.ops) {
        KVAULT_TRY(std::vector<BenchRow> more, bench.run(op));
        rows.insert(rows.end(), more.begin(), more.end());
      }
    }
  }
  return rows;
} catch (const std::bad_alloc&) {
  return fail(Errc::out_of_memory, message("no memory for sets of ", options.set_size_bytes,
                                           " bytes (--set-bytes) per preset"));
}

}  // namespace kvault::tools
