#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "core/format/record.hpp"

namespace kvault {

inline constexpr std::uint32_t kSessionFileMagic = 0x3158564BU;  ///< "KVX1"
inline constexpr std::uint16_t kSessionFileVersion = 1;
/// The header fills the first unit of the file; the records follow.
inline constexpr std::uint64_t kSessionFileHeaderSize = kRecordAlignment;

/// The first 4096 bytes of an exported session; docs/format.md, section 6.
struct SessionFileHeader {
  std::uint64_t file_id = 0;        ///< random; every record of the file repeats it as its pack id
  std::uint64_t size_bytes = 0;     ///< of the whole file, so that a cut one is known at once
  std::uint64_t commit_offset = 0;  ///< of the commit record, which ends the file
  std::uint32_t n_record = 0;       ///< before the commit record
  friend bool operator==(const SessionFileHeader&, const SessionFileHeader&) = default;
};

std::vector<std::byte> serialise_session_file_header(const SessionFileHeader& header);
/// Reads the first 4096 bytes. Errc::truncated, unknown_format or corrupt. The sizes agree with
/// each other afterwards; whether the file has them is the caller's to look at.
Result<SessionFileHeader> parse_session_file_header(std::span<const std::byte> bytes);

}  // namespace kvault
