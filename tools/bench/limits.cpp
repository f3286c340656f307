#include "tools/bench/limits.hpp"

#include "core/layout/block_layout.hpp"

namespace kvault::tools {

BlockFormat format_of(const Preset& preset, Side side) {
  const Scheme scheme = side == Side::key ? preset.key : preset.value;
  if (scheme == Scheme::raw) return BlockFormat::raw(RowType::f16);
  return BlockFormat::coded(scheme, side == Side::key);
}

std::uint64_t pair_size_bytes(const Preset& preset, std::uint32_t head_dim) {
  return BlockLayout::of(format_of(preset, Side::key), head_dim).size_bytes +
         BlockLayout::of(format_of(preset, Side::value), head_dim).size_bytes;
}

std::uint64_t layer_stored_size_bytes(const Preset& preset, const BenchShape& shape) {
  const std::uint64_t n_page = (shape.n_token + kPageTokens - 1) / kPageTokens;
  return n_page * shape.n_kv_head * pair_size_bytes(preset, shape.head_dim);
}

std::uint64_t page_f16_size_bytes(const BenchShape& shape) {
  return std::uint64_t{2} * kPageTokens * shape.n_kv_head * shape.head_dim * sizeof(std::uint16_t);
}

double dots_per_pair(cpu::InstructionSet set, std::uint32_t n_row, std::uint32_t head_dim) {
  const double n_product = double{kPageTokens} * n_row * 2 * padded_head_dim(head_dim);
  switch (set) {
    case cpu::InstructionSet::avx512:
      return n_product * 2 / 64;
    case cpu::InstructionSet::amx:
      return n_product * 2 / 1024;
    case cpu::InstructionSet::avx2:
    case cpu::InstructionSet::avx_vnni:
      return n_product / 16;
    case cpu::InstructionSet::scalar:
    case cpu::InstructionSet::neon:
      return 0;
  }
  return 0;
}

double port_limit_gb_per_s(std::uint64_t pair_bytes, double n_dot, double dots_per_us,
                           std::uint32_t n_thread) {
  if (n_dot <= 0) return 0;
  return gb_per_s(pair_bytes, n_dot / dots_per_us) * n_thread;
}

double gb_per_s(std::uint64_t size_bytes, double time_us) {
  return time_us > 0 ? static_cast<double>(size_bytes) / time_us / 1e3 : 0;
}

}  // namespace kvault::tools
