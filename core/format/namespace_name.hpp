#pragma once

#include <cstdint>
#include <string_view>

#include "core/base/result.hpp"

namespace kvault {

/// 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit: the name of a directory
/// too. Errc::invalid_argument
Result<> check_namespace_name(std::string_view name);

/// What to do where a namespace that is entered does not exist.
enum class NamespaceCreation : std::uint8_t { none = 0, plain = 1, encrypted = 2 };

}  // namespace kvault
