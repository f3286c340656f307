#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace kvault::tools {

/// What kvault-bench measures.
enum class BenchOp : std::uint8_t { decode, prefill, encode, reconstruct, upload };

/// "all" of them: what computes.
inline constexpr BenchOp kBenchOps[] = {BenchOp::decode, BenchOp::prefill, BenchOp::encode,
                                        BenchOp::reconstruct};

constexpr std::string_view name_of(BenchOp op) {
  switch (op) {
    case BenchOp::decode:
      return "decode";
    case BenchOp::prefill:
      return "prefill";
    case BenchOp::encode:
      return "encode";
    case BenchOp::reconstruct:
      return "reconstruct";
    case BenchOp::upload:
      return "upload";
  }
  return "";
}

constexpr std::optional<BenchOp> find_bench_op(std::string_view name) {
  for (const BenchOp op : kBenchOps) {
    if (name_of(op) == name) return op;
  }
  if (name_of(BenchOp::upload) == name) return BenchOp::upload;
  return std::nullopt;
}

/// One layer of a model at one length, K and V of the same head_dim; of some chats at once.
struct BenchShape {
  std::uint32_t n_head = 32;
  std::uint32_t n_kv_head = 8;
  std::uint32_t head_dim = 128;
  std::uint64_t n_token = 16384;
  std::uint32_t n_sequence = 1;
  friend bool operator==(const BenchShape&, const BenchShape&) = default;
};

}  // namespace kvault::tools
