#pragma once

#include <cstddef>

namespace kvault::cpu {

/// How far, in bytes, packing and unpacking may reach behind a row: the widest vector.
inline constexpr std::size_t kPackSlack = 64;

}  // namespace kvault::cpu
