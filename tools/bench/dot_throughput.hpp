#pragma once

#include "core/cpu/instruction_set.hpp"
#include "tools/bench/variant.hpp"

namespace kvault::tools {

/// How fast one core gets through the integer dots of an instruction set's kernels when nothing
/// else is asked of it: VPDPBUSD on avx512, VPMADDWD with a VPADDD on avx2, VPDPWSSD on avx_vnni, a
/// row of TDPBUSD on amx. A visit's time is that of 10^6 of them.
class DotThroughput final : public Variant {
 public:
  /// pre: has_dots(set), and the processor supports it
  explicit DotThroughput(cpu::InstructionSet set) : set_(set) {}
  Result<double> visit_us() override;

  static bool has_dots(cpu::InstructionSet set);
  static constexpr double kTimedDots = 1e6;

 private:
  cpu::InstructionSet set_;
};

}  // namespace kvault::tools
