#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/cpu/instruction_set.hpp"
#include "tools/bench/bench_row.hpp"
#include "tools/bench/round_robin.hpp"
#include "tools/bench/variant.hpp"

namespace kvault::tools {

/// A variant, and what its times mean.
struct Contestant {
  static constexpr std::size_t kNoBase = static_cast<std::size_t>(-1);

  std::unique_ptr<Variant> variant;
  BenchRow row;                            ///< all but what is measured
  std::uint64_t stored_size_bytes = 0;     ///< that one call reads or writes in stored form
  std::uint64_t f16_size_bytes = 0;        ///< the same as rows of f16
  std::span<const std::byte> memory = {};  ///< what it reads; empty: not readable from here
  cpu::InstructionSet dot_set = cpu::InstructionSet::scalar;
  double n_dot = 0;            ///< integer dots of one call; 0: not known
  std::size_t base = kNoBase;  ///< the contestant that is its f16
};

/// Measures all in turn, together with the bandwidth of the memory they read and the throughput of
/// the dots they use. [n_contestant]
Result<std::vector<BenchRow>> measure_group(std::span<Contestant> contestants,
                                            const RoundLimit& limit, const std::string& label);

/// Fills in what follows from the times of a contestant: everything but the speedup.
/// `bandwidth_us` is the time of ReadBandwidth::kTimedBytes, `dots_us` that of
/// DotThroughput::kTimedDots; 0: not measured.
BenchRow finish_row(const Contestant& contestant, const Samples& samples, double bandwidth_us,
                    double dots_us);

}  // namespace kvault::tools
