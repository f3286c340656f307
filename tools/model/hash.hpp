#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace kvault::tools {

/// XXH3, 64 bits.
std::uint64_t hash_of(std::span<const std::byte> bytes);
/// 16 hexadecimal digits.
std::string hex_of(std::uint64_t number);

}  // namespace kvault::tools
