#include "tools/bench/bench_options.hpp"

#include <doctest/doctest.h>

namespace kvault::tools {
namespace {

/// The message that refuses the options; fails where they are accepted.
std::string refusal_of(const BenchOptions& options) {
  const Result<> outcome = check_bench_options(options);
  REQUIRE_FALSE(outcome);
  CHECK(outcome.error().code == Errc::invalid_argument);
  return outcome.error().message;
}

void check_refused(const BenchOptions& options, const std::vector<std::string>& parts) {
  const std::string refusal = refusal_of(options);
  for (const std::string& part : parts) {
    CAPTURE(refusal);
    CHECK(refusal.find(part) != std::string::npos);
  }
}

TEST_CASE("bench options: the defaults can be measured") {
  CHECK(check_bench_options(BenchOptions()));
  CHECK(check_bench_options({.ops = {BenchOp::prefill}, .n_tokens = {128}}));
  CHECK(check_bench_options({.presets = {"f16", "raw", "k8v4"}}));
}

TEST_CASE("bench options: what cannot be measured is refused with its number") {
  check_refused({.n_tokens = {1024, 0}}, {"--n-token 0", "[1, 16777216]"});
  check_refused({.n_tokens = {16777217}}, {"--n-token 16777217"});
  check_refused({.n_head = 30}, {"--n-head 30", "--n-kv-head 8"});
  check_refused({.n_kv_head = 0}, {"--n-kv-head 0"});
  check_refused({.head_dims = {128, 100}}, {"--head-dim 100", "96, 112"});
  check_refused({.presets = {"k4v4", "k5v5"}}, {"\"k5v5\"", "k8v4"});
  check_refused({.n_threads = {1, 257}}, {"--n-threads 257", "256"});
  check_refused({.ops = {BenchOp::prefill}, .n_tokens = {127}}, {"--n-q 128", "--n-token 127"});
  check_refused({.n_qs = {4, 0}}, {"--n-q 0"});
  check_refused({.set_size_bytes = 0}, {"--set-bytes 0"});
  check_refused({.min_time_s = -1}, {"--min-time -1"});
  check_refused({.peer = "ggml="}, {"--peer \"ggml=\""});
  check_refused({.n_sequence = 1025}, {"--n-sequence 1025"});
  check_refused({.n_sequence = 2, .peer = "ggml=folder"}, {"--n-sequence 2", "--peer"});
}

TEST_CASE("bench options: ops by name, each once") {
  const auto two = parse_bench_ops({"encode", "decode", "encode"});
  REQUIRE(two);
  CHECK(*two == std::vector<BenchOp>{BenchOp::encode, BenchOp::decode});
  const auto all = parse_bench_ops({"decode", "all"});
  REQUIRE(all);
  CHECK(all->size() == 4);
  const auto more = parse_bench_ops({"upload", "all"});
  REQUIRE(more);
  CHECK(more->size() == 5);
  const auto none = parse_bench_ops({"decode", "attend"});
  REQUIRE_FALSE(none);
  CHECK(none.error().message.find("\"attend\"") != std::string::npos);
}

TEST_CASE("bench options: a peer is ggml and a folder") {
  const auto folder = parse_peer("ggml=some/folder=with an equals sign");
  REQUIRE(folder);
  CHECK(*folder == "some/folder=with an equals sign");
  CHECK_FALSE(parse_peer("ggml"));
  CHECK_FALSE(parse_peer("torch=folder"));
}

}  // namespace
}  // namespace kvault::tools
