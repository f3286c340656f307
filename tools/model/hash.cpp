#include "tools/model/hash.hpp"

#include "core/format/record.hpp"

namespace kvault::tools {

std::uint64_t hash_of(std::span<const std::byte> bytes) { return payload_checksum(bytes); }

std::string hex_of(std::uint64_t number) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (int shift = 60; shift >= 0; shift -= 4) text += kDigits[(number >> shift) & 15U];
  return text;
}

}  // namespace kvault::tools
