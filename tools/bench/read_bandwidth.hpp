#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tools/bench/variant.hpp"

namespace kvault::tools {

/// Reads memory with wide loads, every thread its part: what any kernel over the same bytes could
/// reach at most. A visit's time is that of 2^30 bytes. The memory must outlive it.
class ReadBandwidth final : public Variant {
 public:
  ReadBandwidth(std::span<const std::byte> memory, std::uint32_t n_thread)
      : memory_(memory), n_thread_(n_thread) {}
  Result<double> visit_us() override;

  static constexpr std::uint64_t kTimedBytes = std::uint64_t{1} << 30U;

 private:
  double read_us(std::span<const std::byte> part);

  std::span<const std::byte> memory_;
  std::uint32_t n_thread_;
  std::size_t next_ = 0;
  std::uint64_t check_ = 0;
};

}  // namespace kvault::tools
