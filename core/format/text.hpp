#pragma once

#include <cstddef>
#include <string_view>

#include "core/base/result.hpp"

namespace kvault {

/// Whether a text may stand in a table, a log line or a terminal: strict UTF-8 of size_min to
/// size_max bytes without control characters. Errc::invalid_argument names `what`, the number and
/// the offending byte.
Result<> check_text(std::string_view what, std::string_view text, std::size_t size_min,
                    std::size_t size_max);

}  // namespace kvault
