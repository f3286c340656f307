#include "tools/bench/ggml_group.hpp"

#include <algorithm>

#include "tools/bench/ggml_attention.hpp"
#include "tools/bench/layer_set.hpp"

namespace kvault::tools {
namespace {

/// Entries that share a scale in q8_0 and q4_0: a head's rows must be made of whole ones.
constexpr std::uint32_t kGgmlQuantumDim = 32;

std::size_t find_f16(std::span<const Contestant> contestants, std::uint32_t n_thread) {
  for (std::size_t i = 0; i < contestants.size(); ++i) {
    const BenchRow& row = contestants[i].row;
    if (row.preset == "raw" && row.n_thread == n_thread) return i;
  }
  return Contestant::kNoBase;
}

}  // namespace

Result<std::vector<GgmlLayers>> build_ggml_layers(const GgmlPeer& peer, const BenchShape& shape,
                                                  std::uint32_t n_q, std::uint64_t set_size_bytes) {
  std::vector<GgmlLayers> all;
  for (const GgmlType type : {GgmlType::f16, GgmlType::q8_0, GgmlType::q4_0}) {
    if (type != GgmlType::f16 && shape.head_dim % kGgmlQuantumDim != 0) continue;
    for (const GgmlLayout layout : {GgmlLayout::cache, GgmlLayout::head}) {
      KVAULT_TRY(GgmlLayers layers,
                 GgmlLayers::create(peer, {type, layout, shape, n_q, set_size_bytes}));
      all.push_back(std::move(layers));
    }
  }
  return all;
}

Result<> enter_ggml(const GgmlPeer& peer, BenchOp op, std::span<const GgmlLayers> layers,
                    std::span<const std::uint32_t> n_threads,
                    std::vector<Contestant>& contestants) {
  for (const std::uint32_t n_thread : n_threads) {
    for (const GgmlLayers& one : layers) {
      const GgmlSpec& spec = one.spec();
      Contestant contestant;
      KVAULT_TRY(contestant.variant, GgmlAttention::create(peer, one, n_thread));
      BenchRow& row = contestant.row;
      row.op = name_of(op);
      row.device = "ggml " + peer.version();
      row.preset = message("ggml:", peer.api().type_name(spec.type));
      row.layout = name_of(spec.layout);
      row.instruction_set = peer.cpu_variant();
      row.head_dim = spec.shape.head_dim;
      row.n_head = spec.shape.n_head;
      row.n_kv_head = spec.shape.n_kv_head;
      row.n_token = spec.shape.n_token;
      row.n_q = spec.n_q;
      row.n_thread = n_thread;
      row.set_size_bytes = one.n_layer() * one.layer_size_bytes();
      row.page_size_bytes = memory_page_size_bytes(false);
      contestant.stored_size_bytes = one.layer_size_bytes();
      contestant.memory = one.bytes();
      contestant.base = find_f16(contestants, n_thread);
      contestants.push_back(std::move(contestant));
    }
  }
  return {};
}

}  // namespace kvault::tools
