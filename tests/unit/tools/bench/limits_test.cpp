#include "tools/bench/limits.hpp"

#include <doctest/doctest.h>

#include "tools/bench/bench_group.hpp"
#include "tools/bench/dot_throughput.hpp"
#include "tools/bench/read_bandwidth.hpp"

namespace kvault::tools {
namespace {

TEST_CASE("bench limits: stored bytes are those of centred keys and values as they are") {
  const Preset k4v4 = *find_preset("k4v4");
  const Preset raw = *find_preset("f16");
  const BenchShape shape = {.n_head = 32, .n_kv_head = 8, .head_dim = 128, .n_token = 16384};
  CHECK(pair_size_bytes(k4v4, 128) == 8704 + 8448);
  CHECK(pair_size_bytes(raw, 128) == 2 * 32768);
  CHECK(layer_stored_size_bytes(k4v4, shape) == 128 * 8 * (8704 + 8448));
  CHECK(layer_stored_size_bytes(raw, shape) == 67108864);
  CHECK(page_f16_size_bytes(shape) == 67108864 / 128);
  CHECK(layer_stored_size_bytes(k4v4, {.n_token = 129}) ==
        layer_stored_size_bytes(k4v4, {.n_token = 256}));
}

TEST_CASE("bench limits: dots of a pair by hand") {
  CHECK(dots_per_pair(cpu::InstructionSet::avx512, 4, 128) == 4.0 * 128 * 256 * 2 / 64);
  CHECK(dots_per_pair(cpu::InstructionSet::avx2, 4, 128) == 4.0 * 128 * 256 / 16);
  CHECK(dots_per_pair(cpu::InstructionSet::avx_vnni, 4, 128) == 4.0 * 128 * 256 / 16);
  // Eight rows, both planes of four queries, in 16 products of keys and 16 of values.
  CHECK(dots_per_pair(cpu::InstructionSet::amx, 4, 128) == 8.0 * 32);
  // 48 is stored as 64 dimensions.
  CHECK(dots_per_pair(cpu::InstructionSet::avx512, 1, 48) == 128.0 * 128 * 2 / 64);
  CHECK(dots_per_pair(cpu::InstructionSet::scalar, 4, 128) == 0);
  CHECK(dots_per_pair(cpu::InstructionSet::neon, 4, 128) == 0);
}

TEST_CASE("bench limits: the port limit is bytes over the time of the dots, times the threads") {
  // 4096 dots at 8 per ns take 512 ns; 17152 bytes in 512 ns are 33.5 GB/s.
  CHECK(port_limit_gb_per_s(17152, 4096, 8000, 1) == doctest::Approx(33.5));
  CHECK(port_limit_gb_per_s(17152, 4096, 8000, 2) == doctest::Approx(67));
  CHECK(port_limit_gb_per_s(17152, 0, 8000, 1) == 0);
  CHECK(gb_per_s(5000, 2) == doctest::Approx(2.5));
  CHECK(gb_per_s(5000, 0) == 0);
}

TEST_CASE("bench row: what follows from times") {
  Contestant contestant;
  contestant.row.op = "decode";
  contestant.row.n_thread = 2;
  contestant.stored_size_bytes = 1000000;
  contestant.f16_size_bytes = 4000000;
  contestant.n_dot = 1e6;
  const Samples samples{{300, 100, 200}};
  // 2^30 bytes in 0.1 s; 10^6 dots in 50 us.
  const BenchRow row = finish_row(contestant, samples, 1e5, 50);
  CHECK(row.time_us == 200);
  CHECK(row.time_min_us == 100);
  CHECK(row.n_repetition == 3);
  CHECK(row.stored_gb_per_s == doctest::Approx(5));
  CHECK(*row.read_bandwidth_gb_per_s == doctest::Approx(10.73741824));
  CHECK(*row.fraction_of_bandwidth == doctest::Approx(5 / 10.73741824));
  CHECK(*row.port_limit_gb_per_s == doctest::Approx(40));
  CHECK(*row.fraction_of_port_limit == doctest::Approx(0.125));
  CHECK_FALSE(row.input_gb_per_s);
  CHECK_FALSE(row.output_gb_per_s);
  CHECK_FALSE(row.speedup_over_f16);
}

TEST_CASE("bench row: encode names what went in, reconstruct what came out, neither has dots") {
  Contestant contestant;
  contestant.row.op = "encode";
  contestant.f16_size_bytes = 4000000;
  const Samples samples{{100, 300}};
  BenchRow row = finish_row(contestant, samples, 0, 0);
  CHECK(*row.input_gb_per_s == doctest::Approx(20));
  CHECK_FALSE(row.output_gb_per_s);
  CHECK_FALSE(row.port_limit_gb_per_s);
  CHECK_FALSE(row.read_bandwidth_gb_per_s);
  CHECK_FALSE(row.fraction_of_bandwidth);
  contestant.row.op = "reconstruct";
  row = finish_row(contestant, samples, 0, 0);
  CHECK(*row.output_gb_per_s == doctest::Approx(20));
  CHECK_FALSE(row.input_gb_per_s);
}

TEST_CASE("bench probes: dots and reading take time that is neither nothing nor for ever") {
  for (const cpu::InstructionSet set : cpu::compiled_instruction_sets()) {
    if (!cpu::is_supported(set) || !DotThroughput::has_dots(set)) continue;
    DotThroughput dots(set);
    const Result<double> time_us = dots.visit_us();
    REQUIRE(time_us);
    const double dots_per_ns = DotThroughput::kTimedDots / *time_us / 1e3;
    CAPTURE(dots_per_ns);
    CHECK(dots_per_ns > 0.05);
    CHECK(dots_per_ns < 25);  // 4 per cycle at 6 GHz
  }
  const std::vector<std::byte> memory(std::size_t{1} << 20U, std::byte{1});
  for (const std::uint32_t n_thread : {1U, 3U}) {
    ReadBandwidth reading(memory, n_thread);
    const Result<double> time_us = reading.visit_us();
    REQUIRE(time_us);
    CHECK(*time_us > 0);
  }
}

}  // namespace
}  // namespace kvault::tools
