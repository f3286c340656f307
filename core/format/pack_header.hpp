#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "core/format/record.hpp"

namespace kvault {

inline constexpr std::uint32_t kPackMagic = 0x3150564BU;  ///< "KVP1"
inline constexpr std::uint16_t kPackVersion = 1;
/// The header fills the first unit of a pack; the first record follows.
inline constexpr std::uint64_t kPackHeaderSize = kRecordAlignment;

/// Which pack: kind and number. Log packs and pages packs are numbered apart, from 1.
struct PackName {
  PackKind kind = PackKind::log;
  std::uint32_t number = 0;
  friend bool operator==(const PackName&, const PackName&) = default;
  friend bool operator<(const PackName& a, const PackName& b) {
    return a.kind != b.kind ? a.kind < b.kind : a.number < b.number;
  }
};
/// "log-000001.pack", "pages-000001.pack".
std::string file_name_of(PackName name);
/// Errc::invalid_argument for every other file's name.
Result<PackName> pack_name_from(std::string_view file_name);

/// The first 4096 bytes of a pack; docs/format.md, section 5.
struct PackHeader {
  PackName name;
  std::uint64_t pack_id = 0;  ///< random; every record of the pack repeats it
  /// How often the store had been opened when this pack was begun: above what a catalog says, the
  /// catalog is older than the pack.
  std::uint64_t epoch = 0;
  friend bool operator==(const PackHeader&, const PackHeader&) = default;
};

std::vector<std::byte> serialise_pack_header(const PackHeader& header);
/// Reads the first 4096 bytes. Errc::truncated, unknown_format or corrupt.
Result<PackHeader> parse_pack_header(std::span<const std::byte> bytes);

}  // namespace kvault
