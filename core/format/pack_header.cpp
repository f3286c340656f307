#include "core/format/pack_header.hpp"

#include <algorithm>
#include <charconv>

#include "core/format/bytes.hpp"

namespace kvault {
namespace {

constexpr std::size_t kChecksumOffset = 24;
constexpr std::size_t kFieldsSize = 40;
constexpr std::string_view kSuffix = ".pack";
constexpr std::size_t kDigits = 6;

std::string_view prefix_of(PackKind kind) { return kind == PackKind::log ? "log-" : "pages-"; }

}  // namespace

std::string file_name_of(PackName name) {
  const std::string digits = std::to_string(name.number);
  const std::size_t n_zero = digits.size() < kDigits ? kDigits - digits.size() : 0;
  return message(prefix_of(name.kind), std::string(n_zero, '0'), digits, kSuffix);
}

Result<PackName> pack_name_from(std::string_view file_name) {
  for (const PackKind kind : {PackKind::log, PackKind::pages}) {
    const std::string_view prefix = prefix_of(kind);
    if (!file_name.starts_with(prefix) || !file_name.ends_with(kSuffix)) continue;
    const std::string_view digits =
        file_name.substr(prefix.size(), file_name.size() - prefix.size() - kSuffix.size());
    PackName name{kind, 0};
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), name.number);
    const bool is_number = error == std::errc() && end == digits.data() + digits.size();
    if (is_number && name.number > 0 && file_name_of(name) == file_name) return name;
  }
  return fail(Errc::invalid_argument, message("'", file_name, "' is not the name of a pack"));
}

std::vector<std::byte> serialise_pack_header(const PackHeader& header) {
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  writer.put(kPackMagic);
  writer.put(kPackVersion);
  writer.put(static_cast<std::uint8_t>(header.name.kind));
  writer.put(std::uint8_t{0});
  writer.put(header.name.number);
  writer.put(static_cast<std::uint32_t>(kRecordAlignment));
  writer.put(header.pack_id);
  writer.put(std::uint64_t{0});  // the checksum's place
  writer.put(header.epoch);
  writer.put_zeros(kPackHeaderSize - bytes.size());
  std::vector<std::byte> checksum;
  ByteWriter(checksum).put(payload_checksum(bytes));
  std::copy(checksum.begin(), checksum.end(), bytes.begin() + kChecksumOffset);
  return bytes;
}

Result<PackHeader> parse_pack_header(std::span<const std::byte> bytes) {
  if (bytes.size() < kPackHeaderSize) {
    return fail(Errc::truncated, message("a pack of ", bytes.size(), " bytes has no header"));
  }
  ByteReader reader(bytes);
  const auto magic = reader.take<std::uint32_t>();
  const auto version = reader.take<std::uint16_t>();
  const auto kind = reader.take<std::uint8_t>();
  const auto reserved = reader.take<std::uint8_t>();
  PackHeader header;
  header.name.number = reader.take<std::uint32_t>();
  const auto alignment = reader.take<std::uint32_t>();
  header.pack_id = reader.take<std::uint64_t>();
  const auto checksum = reader.take<std::uint64_t>();
  header.epoch = reader.take<std::uint64_t>();
  if (magic != kPackMagic) {
    return fail(Errc::corrupt, message("magic ", magic, " where a pack has ", kPackMagic));
  }
  std::vector<std::byte> copy(bytes.begin(), bytes.begin() + kPackHeaderSize);
  std::fill_n(copy.begin() + kChecksumOffset, sizeof checksum, std::byte{0});
  if (payload_checksum(copy) != checksum) {
    return fail(Errc::corrupt, message("a pack header has the checksum ", checksum,
                                       ", its bytes have ", payload_checksum(copy)));
  }
  // Every version keeps magic and checksum where they are: damage is told from a newer version.
  if (version != kPackVersion) {
    return fail(Errc::unknown_format,
                message("pack version ", version, "; this build knows ", kPackVersion));
  }
  const std::span<const std::byte> rest = reader.take_bytes(kPackHeaderSize - kFieldsSize);
  const bool is_rest_zero =
      std::all_of(rest.begin(), rest.end(), [](std::byte byte) { return byte == std::byte{0}; });
  if (!is_rest_zero) return fail(Errc::unknown_format, "a pack header with more than we know of");
  if (kind > 1 || reserved != 0 || header.name.number == 0 || alignment != kRecordAlignment) {
    return fail(Errc::unknown_format, message("a pack of kind ", kind, ", number ",
                                              header.name.number, ", alignment ", alignment));
  }
  header.name.kind = static_cast<PackKind>(kind);
  return header;
}

}  // namespace kvault
