#pragma once

#include <cstdint>

#include "tools/demo/demo_compare.hpp"
#include "tools/demo/demo_run.hpp"

namespace kvault::tools {

/// What the disk holds at the end.
struct DiskNumbers {
  std::uint64_t live_bytes = 0;
  std::uint64_t pack_bytes = 0;
  std::uint64_t n_damaged = 0;
};

/// Everything a demo found out.
struct DemoOutcome {
  std::string preset;
  bool is_same_session = false;  ///< the session's saved tokens are the uninterrupted run's
  SeenChat seen;
  PlainChat plain;
  RawScore raw;
  DiskNumbers disk;
  double reprefill_ms = 0;
};

/// Prints the outcome as a table or as JSON and returns the exit code: kExitBad where a check
/// fails, with a line on stderr for each.
int print_outcome(const DemoOutcome& outcome, bool as_json);

}  // namespace kvault::tools
