#include "core/format/session_file_header.hpp"

#include <algorithm>

#include "core/format/bytes.hpp"

namespace kvault {
namespace {

constexpr std::size_t kChecksumOffset = 24;
/// No file is larger than what the records of a commit can come to.
constexpr std::uint64_t kFileSizeMax = std::uint64_t{1} << 51U;

Result<> check_places(const SessionFileHeader& header) {
  const bool is_aligned =
      header.size_bytes % kRecordAlignment == 0 && header.commit_offset % kRecordAlignment == 0;
  if (is_aligned && header.size_bytes <= kFileSizeMax &&
      header.commit_offset >= kSessionFileHeaderSize && header.commit_offset < header.size_bytes &&
      header.size_bytes - header.commit_offset <= kRecordSizeMax &&
      header.n_record <= kLiveRecordsMax) {
    return {};
  }
  return fail(Errc::corrupt,
              message("an exported session of ", header.size_bytes, " bytes with ", header.n_record,
                      " records and its commit at ", header.commit_offset));
}

}  // namespace

std::vector<std::byte> serialise_session_file_header(const SessionFileHeader& header) {
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  writer.put(kSessionFileMagic);
  writer.put(kSessionFileVersion);
  writer.put(std::uint16_t{0});
  writer.put(static_cast<std::uint32_t>(kRecordAlignment));
  writer.put(header.n_record);
  writer.put(header.file_id);
  writer.put(std::uint64_t{0});  // the checksum's place
  writer.put(header.size_bytes);
  writer.put(header.commit_offset);
  writer.put_zeros(kSessionFileHeaderSize - bytes.size());
  std::vector<std::byte> checksum;
  ByteWriter(checksum).put(payload_checksum(bytes));
  std::copy(checksum.begin(), checksum.end(), bytes.begin() + kChecksumOffset);
  return bytes;
}

Result<SessionFileHeader> parse_session_file_header(std::span<const std::byte> bytes) {
  if (bytes.size() < kSessionFileHeaderSize) {
    return fail(Errc::truncated,
                message("an exported session of ", bytes.size(), " bytes has no header"));
  }
  ByteReader reader(bytes);
  SessionFileHeader header;
  const auto magic = reader.take<std::uint32_t>();
  const auto version = reader.take<std::uint16_t>();
  const auto reserved = reader.take<std::uint16_t>();
  const auto alignment = reader.take<std::uint32_t>();
  header.n_record = reader.take<std::uint32_t>();
  header.file_id = reader.take<std::uint64_t>();
  const auto checksum = reader.take<std::uint64_t>();
  header.size_bytes = reader.take<std::uint64_t>();
  header.commit_offset = reader.take<std::uint64_t>();
  if (magic != kSessionFileMagic) {
    return fail(Errc::unknown_format,
                message("magic ", magic, " where an exported session has ", kSessionFileMagic));
  }
  std::vector<std::byte> copy(bytes.begin(), bytes.begin() + kSessionFileHeaderSize);
  std::fill_n(copy.begin() + kChecksumOffset, sizeof checksum, std::byte{0});
  if (payload_checksum(copy) != checksum) {
    return fail(Errc::corrupt, message("the header of an exported session has the checksum ",
                                       checksum, ", its bytes have ", payload_checksum(copy)));
  }
  // Every version keeps magic and checksum where they are: damage is told from a newer version.
  if (version != kSessionFileVersion || reserved != 0 || alignment != kRecordAlignment) {
    return fail(Errc::unknown_format,
                message("an exported session of version ", version, ", reserved ", reserved,
                        ", alignment ", alignment, "; this build knows ", kSessionFileVersion,
                        ", 0 and ", kRecordAlignment));
  }
  KVAULT_CHECK(check_places(header));
  return header;
}

}  // namespace kvault
