#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "tools/bench/shape.hpp"

namespace kvault::tools {

/// What the user asked kvault-bench for. The lists multiply.
struct BenchOptions {
  std::vector<BenchOp> ops = {BenchOp::decode};
  std::vector<std::uint64_t> n_tokens = {16384};
  std::uint32_t n_head = 32;
  std::uint32_t n_kv_head = 8;
  std::vector<std::uint32_t> head_dims = {128};
  std::uint32_t n_sequence = 1;  ///< of decode and prefill
  std::vector<std::string> presets = {"k4v4"};
  std::vector<std::uint32_t> n_threads = {1};
  std::vector<std::uint32_t> n_qs = {128};         ///< of prefill; decode has one query
  std::vector<std::string> instruction_sets = {};  ///< empty: the best of this processor
  std::string device = "cpu";
  std::uint64_t set_size_bytes = std::uint64_t{256} << 20U;
  std::uint32_t n_repetition = 0;  ///< 0: as many as fit into min_time_s
  double min_time_s = 1;           ///< per variant
  std::string peer = {};           ///< "ggml=DIR", or empty
};

/// "decode,encode" or "all".
Result<std::vector<BenchOp>> parse_bench_ops(const std::vector<std::string>& names);

/// The folder of the only peer there is: "ggml=DIR".
Result<std::string> parse_peer(std::string_view text);

/// Refuses what cannot be measured, by option and number.
Result<> check_bench_options(const BenchOptions& options);

}  // namespace kvault::tools
