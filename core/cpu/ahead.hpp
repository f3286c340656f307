#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace kvault::cpu {

inline constexpr std::size_t kLineBytes = 64;

/// From how many places in memory lines are asked for in turn. Measured: the processor runs ahead
/// of each of them on its own, and one alone leaves memory waiting (docs/benchmarks/cpu.md).
inline constexpr std::size_t kAheadStreams = 8;

/// Memory that will be read soon, asked for line by line while the arithmetic runs, which leaves
/// the memory idle: a line of every stream in turn, then the next line of every stream.
struct Ahead {
  std::uintptr_t at = 0;
  std::size_t n_line = 0;  ///< of all streams: a multiple of their number
  /// From a stream's line to the next stream's, the last's to the next line of the first: by the
  /// number of lines left after it, modulo kAheadStreams. Sums wrap.
  std::array<std::uintptr_t, kAheadStreams> steps = {};

  /// Takes 1 / share of the lines from the front.
  Ahead take(std::size_t share) {
    const std::size_t n_line_of_stream = n_line / kAheadStreams / share;
    Ahead front = *this;
    front.n_line = n_line_of_stream * kAheadStreams;
    at += n_line_of_stream * kLineBytes;
    n_line -= front.n_line;
    return front;
  }
};

}  // namespace kvault::cpu
