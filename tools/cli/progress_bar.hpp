#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace kvault::tools {

/// Whether a descriptor (1: stdout, 2: stderr) is a terminal.
bool is_terminal(int descriptor);

/// A line on stderr that fills while long work goes on, and is wiped when it ends. Silent where
/// stderr is no terminal, where it was switched off (--json) and in the first 300 ms.
/// One thread at a time.
class ProgressBar {
 public:
  ProgressBar(std::string label, std::uint64_t total, bool is_enabled);
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar();

  /// `done` of the total, from 0 up.
  void show(std::uint64_t done);

 private:
  using Clock = std::chrono::steady_clock;

  std::string label_;
  std::uint64_t total_;
  bool is_enabled_;
  bool is_drawn_ = false;
  Clock::time_point next_draw_;
};

}  // namespace kvault::tools
