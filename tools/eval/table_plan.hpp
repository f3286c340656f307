#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/eval/lab_attention.hpp"

namespace kvault::eval {

/// One measurement of the whole table.
struct PlannedRun {
  std::string table;   ///< "codec-only", "live" or "options"
  std::string group;   ///< who made the scheme, or which option is turned
  std::string scheme;  ///< scheme_of's text
  Mode mode = Mode::codec_only;
  std::uint32_t stress = 0;
  std::string base;  ///< options: the scheme that it is compared with
};

/// Everything that docs/quality.md shows: every scheme of this repository, every rival and every
/// option, plain and stressed.
std::vector<PlannedRun> whole_plan();

}  // namespace kvault::eval
