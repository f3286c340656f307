#include "tools/bench/bench_options.hpp"

#include <algorithm>

#include "core/layout/block_layout.hpp"
#include "core/layout/scheme.hpp"

namespace kvault::tools {
namespace {

constexpr std::uint64_t kTokenMax = std::uint64_t{1} << 24U;
constexpr std::uint32_t kHeadMax = 1024;
constexpr std::uint32_t kThreadMax = 256;
constexpr std::uint32_t kSequenceMax = 1024;
constexpr std::uint64_t kSetSizeBytesMax = std::uint64_t{1} << 40U;
constexpr double kMinTimeMaxS = 3600;

Result<> check_range(std::string_view option, std::uint64_t value, std::uint64_t least,
                     std::uint64_t most) {
  if (value >= least && value <= most) return {};
  return fail(Errc::invalid_argument,
              message(option, " ", value, " is not in [", least, ", ", most, "]"));
}

Result<> check_heads(const BenchOptions& options) {
  KVAULT_CHECK(check_range("--n-head", options.n_head, 1, kHeadMax));
  KVAULT_CHECK(check_range("--n-kv-head", options.n_kv_head, 1, kHeadMax));
  if (options.n_head % options.n_kv_head != 0) {
    return fail(
        Errc::invalid_argument,
        message("--n-head ", options.n_head, " is no multiple of --n-kv-head ", options.n_kv_head));
  }
  for (const std::uint32_t head_dim : options.head_dims) {
    if (is_supported_head_dim(head_dim)) continue;
    std::string known;
    for (std::uint32_t dim = 1; dim <= KVAULT_HEAD_DIM_MAX; ++dim) {
      if (is_supported_head_dim(dim)) known += message(known.empty() ? "" : ", ", dim);
    }
    return fail(Errc::invalid_argument, message("--head-dim ", head_dim, " is not one of ", known));
  }
  return {};
}

Result<> check_presets(const BenchOptions& options) {
  for (const std::string& name : options.presets) {
    if (find_preset(name)) continue;
    std::string known;
    for (const Preset& preset : presets()) known += message(known.empty() ? "" : ", ", preset.name);
    return fail(Errc::invalid_argument, message("--preset \"", name, "\" is not one of ", known));
  }
  return {};
}

bool has_op(const BenchOptions& options, BenchOp op) {
  return std::find(options.ops.begin(), options.ops.end(), op) != options.ops.end();
}

Result<> check_lengths(const BenchOptions& options) {
  const std::uint32_t n_q_max = *std::max_element(options.n_qs.begin(), options.n_qs.end());
  for (const std::uint32_t n_q : options.n_qs) {
    KVAULT_CHECK(check_range("--n-q", n_q, 1, kTokenMax));
  }
  for (const std::uint64_t n_token : options.n_tokens) {
    KVAULT_CHECK(check_range("--n-token", n_token, 1, kTokenMax));
    if (has_op(options, BenchOp::prefill) && n_q_max > n_token) {
      return fail(Errc::invalid_argument,
                  message("--n-q ", n_q_max, " exceeds --n-token ", n_token));
    }
  }
  return {};
}

}  // namespace

Result<std::vector<BenchOp>> parse_bench_ops(const std::vector<std::string>& names) {
  std::vector<BenchOp> ops;
  const auto add = [&](BenchOp op) {
    if (std::find(ops.begin(), ops.end(), op) == ops.end()) ops.push_back(op);
  };
  for (const std::string& name : names) {
    if (name == "all") {
      std::for_each(std::begin(kBenchOps), std::end(kBenchOps), add);
    } else if (const std::optional<BenchOp> op = find_bench_op(name)) {
      add(*op);
    } else {
      return fail(Errc::invalid_argument,
                  message("--op \"", name,
                          "\" is not one of decode, prefill, encode, reconstruct, upload, all"));
    }
  }
  return ops;
}

Result<std::string> parse_peer(std::string_view text) {
  constexpr std::string_view kGgml = "ggml=";
  if (text.starts_with(kGgml) && text.size() > kGgml.size()) {
    return std::string(text.substr(kGgml.size()));
  }
  return fail(Errc::invalid_argument, message("--peer \"", text, "\" is not ggml=DIR"));
}

Result<> check_bench_options(const BenchOptions& options) {
  KVAULT_CHECK(check_heads(options));
  KVAULT_CHECK(check_presets(options));
  KVAULT_CHECK(check_lengths(options));
  for (const std::uint32_t n_thread : options.n_threads) {
    KVAULT_CHECK(check_range("--n-threads", n_thread, 1, kThreadMax));
  }
  KVAULT_CHECK(check_range("--set-bytes", options.set_size_bytes, 1, kSetSizeBytesMax));
  if (!(options.min_time_s >= 0 && options.min_time_s <= kMinTimeMaxS)) {
    return fail(Errc::invalid_argument,
                message("--min-time ", options.min_time_s, " is not in [0, 3600] seconds"));
  }
  KVAULT_CHECK(check_range("--n-sequence", options.n_sequence, 1, kSequenceMax));
  if (options.peer.empty()) return {};
  KVAULT_CHECK(parse_peer(options.peer));
  if (options.n_sequence > 1) {
    return fail(Errc::invalid_argument,
                message("--n-sequence ", options.n_sequence, ": a --peer takes one at a time"));
  }
  return {};
}

}  // namespace kvault::tools
