#include "tools/bench/shape_bench.hpp"

#include <algorithm>
#include <optional>
#include <string_view>

#include "tools/bench/attend_variant.hpp"
#include "tools/bench/encode_variant.hpp"
#include "tools/bench/limits.hpp"
#include "tools/bench/reconstruct_variant.hpp"
#include "tools/bench/upload_variant.hpp"

namespace kvault::tools {
namespace {

std::optional<cpu::InstructionSet> find_instruction_set(std::string_view name) {
  for (const cpu::InstructionSet set : cpu::compiled_instruction_sets()) {
    if (cpu::name_of(set) == name) return set;
  }
  return std::nullopt;
}

}  // namespace

bool is_attention(BenchOp op) { return op == BenchOp::decode || op == BenchOp::prefill; }
bool has_base(BenchOp op) { return op != BenchOp::encode; }

const LayerSet& ShapeBench::set_of(const Preset& preset, Attention attention) {
  const auto known = std::find_if(sets_.begin(), sets_.end(), [&](const KnownSet& one) {
    return one.set->preset().name == preset.name && one.attention == attention;
  });
  if (known != sets_.end()) return *known->set;
  // A layer of its own for every chat.
  const std::uint64_t size_bytes =
      std::max(set_size_bytes_, shape_.n_sequence * layer_stored_size_bytes(preset, shape_));
  sets_.push_back({attention, std::make_unique<LayerSet>(preset, shape_, size_bytes, attention)});
  return *sets_.back().set;
}

const LayerSet& ShapeBench::source_of(const BenchEntry& entry) {
  if (entry.op == BenchOp::encode) return set_of(*find_preset("raw"), Attention::spread);
  return set_of(entry.preset, attention_of(entry.sparse));
}

BenchRow ShapeBench::row_of(const BenchDevice& device, const BenchEntry& entry) const {
  const DeviceCaps& caps = device.device->caps();
  const bool is_gpu = device.device->name() != "cpu";  // whose instruction set says it all
  return {.op = std::string(name_of(entry.op)),
          .device = std::string(device.device->name()),
          .adapter = is_gpu ? device.adapter.name : "",
          .adapter_kind = is_gpu ? std::string(name_of(device.adapter.kind)) : "",
          .driver = is_gpu ? device.adapter.driver : "",
          .preset = std::string(entry.preset.name),
          .layout = "",
          .sparse_values = std::string(name_of(entry.sparse)),
          .instruction_set = std::string(caps.instruction_set),
          .head_dim = shape_.head_dim,
          .n_head = shape_.n_head,
          .n_kv_head = shape_.n_kv_head,
          .n_token = shape_.n_token,
          .n_q = is_attention(entry.op) ? entry.n_q : 0,
          .n_sequence = is_attention(entry.op) ? shape_.n_sequence : 1,
          .n_thread = caps.n_thread,
          .page_size_bytes = memory_page_size_bytes(true)};
}

Result<std::unique_ptr<Variant>> ShapeBench::make_variant(Device& device, const BenchEntry& entry) {
  const LayerSet& source = source_of(entry);
  switch (entry.op) {
    case BenchOp::decode:
    case BenchOp::prefill:
      return AttendVariant::create(device, source, shape_, entry.n_q,
                                   sparse_values_of(entry.sparse));
    case BenchOp::encode:
      return EncodeVariant::create(device, source, entry.preset, shape_);
    case BenchOp::reconstruct:
      return ReconstructVariant::create(device, source, shape_);
    case BenchOp::upload:
      return UploadVariant::create(device, source);
  }
  return fail(Errc::internal, "an op without a variant");
}

Result<Contestant> ShapeBench::enter(const BenchDevice& device, const BenchEntry& entry) {
  Contestant contestant;
  KVAULT_TRY(contestant.variant, make_variant(*device.device, entry));
  const LayerSet& source = source_of(entry);
  contestant.row = row_of(device, entry);
  contestant.row.set_size_bytes = source.size_bytes();
  contestant.f16_size_bytes = page_f16_size_bytes(shape_);
  contestant.stored_size_bytes = stored_size_bytes(entry);
  contestant.memory = source.bytes();
  count_dots(entry, source, contestant);
  return contestant;
}

/// Of what the row's time is the time of.
std::uint64_t ShapeBench::stored_size_bytes(const BenchEntry& entry) const {
  const std::uint64_t layer_bytes = layer_stored_size_bytes(entry.preset, shape_);
  if (entry.op == BenchOp::upload) return layer_bytes;
  if (is_attention(entry.op)) return layer_bytes * shape_.n_sequence;
  return pair_size_bytes(entry.preset, shape_.head_dim) * shape_.n_kv_head;
}

void ShapeBench::count_dots(const BenchEntry& entry, const LayerSet& source,
                            Contestant& contestant) const {
  const auto instructions = find_instruction_set(contestant.row.instruction_set);
  if (!is_attention(entry.op) || !instructions || entry.preset.key == Scheme::raw) return;
  const std::uint32_t n_row = entry.n_q * (shape_.n_head / shape_.n_kv_head);
  contestant.dot_set = *instructions;
  contestant.n_dot = dots_per_pair(*instructions, n_row, shape_.head_dim) *
                     static_cast<double>(source.pages().size() * shape_.n_sequence);
}

}  // namespace kvault::tools
