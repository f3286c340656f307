#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"

namespace kvault::tools {

/// The dictionary in front of an array's bytes, as written: {'descr': '<f4', ...}.
struct NpyHeader {
  std::string descr;
  bool fortran_order = false;
  std::vector<std::uint64_t> shape;
};

/// Reads the Python literal that NumPy writes: exactly the three keys, in any order.
/// Errc::unknown_format says what was expected at which character.
Result<NpyHeader> parse_npy_header(std::string_view text);

}  // namespace kvault::tools
