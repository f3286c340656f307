#include "core/format/record.hpp"

#include <algorithm>

#include "core/base/assert.hpp"
#include "core/format/bytes.hpp"
#include "core/layout/block_layout.hpp"

namespace kvault {
namespace {

constexpr std::size_t kChecksumOffset = 120;
constexpr std::uint32_t kFlagSealed = 1;
constexpr std::uint64_t kRotationSeed =
    (std::uint64_t{KVAULT_ROTATION_SEED_HIGH} << 32U) | KVAULT_ROTATION_SEED_LOW;

/// Fields that have one value in this version; another one is refused by name.
struct Constants {
  std::uint32_t magic = kRecordMagic;
  std::uint32_t page_size = kPageTokens;
  std::uint32_t table_id = KVAULT_TABLE_ID;
  std::uint64_t rotation_seed = kRotationSeed;
  std::uint32_t flags = 0;
  std::uint32_t reserved = 0;
};

template <std::size_t N>
void take_array(ByteReader& reader, std::array<std::byte, N>& target) {
  const std::span<const std::byte> bytes = reader.take_bytes(N);
  std::copy(bytes.begin(), bytes.end(), target.begin());
}

/// pre: bytes.size() >= kRecordHeaderSize
RecordHeader read_fields(std::span<const std::byte> bytes, Constants& constants) {
  ByteReader reader(bytes.first(kRecordHeaderSize));
  RecordHeader header;
  constants.magic = reader.take<std::uint32_t>();
  header.version = reader.take<std::uint16_t>();
  header.kind = static_cast<RecordKind>(reader.take<std::uint16_t>());
  header.length_bytes = reader.take<std::uint64_t>();
  header.transaction = reader.take<std::uint64_t>();
  take_array(reader, header.session.bytes);
  header.commit_number = reader.take<std::uint64_t>();
  header.first_token = reader.take<std::uint64_t>();
  header.n_token = reader.take<std::uint32_t>();
  constants.page_size = reader.take<std::uint32_t>();
  constants.table_id = reader.take<std::uint32_t>();
  header.n_chunk = reader.take<std::uint32_t>();
  constants.rotation_seed = reader.take<std::uint64_t>();
  header.meta_bytes = reader.take<std::uint64_t>();
  header.payload_offset = reader.take<std::uint64_t>();
  header.payload_bytes = reader.take<std::uint64_t>();
  constants.flags = reader.take<std::uint32_t>();
  constants.reserved = reader.take<std::uint32_t>();
  header.pack_id = reader.take<std::uint64_t>();
  header.checksum = reader.take<std::uint64_t>();
  header.is_sealed = (constants.flags & kFlagSealed) != 0;
  take_array(reader, header.key.bytes);
  take_array(reader, header.parent_key.bytes);
  return header;
}

std::vector<std::byte> write_fields(const RecordHeader& header, std::uint64_t checksum) {
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  const Constants constants;
  writer.put(constants.magic);
  writer.put(header.version);
  writer.put(static_cast<std::uint16_t>(header.kind));
  writer.put(header.length_bytes);
  writer.put(header.transaction);
  writer.put_bytes(header.session.bytes);
  writer.put(header.commit_number);
  writer.put(header.first_token);
  writer.put(header.n_token);
  writer.put(constants.page_size);
  writer.put(constants.table_id);
  writer.put(header.n_chunk);
  writer.put(constants.rotation_seed);
  writer.put(header.meta_bytes);
  writer.put(header.payload_offset);
  writer.put(header.payload_bytes);
  writer.put(header.is_sealed ? kFlagSealed : constants.flags);
  writer.put(constants.reserved);
  writer.put(header.pack_id);
  writer.put(checksum);
  writer.put_bytes(header.key.bytes);
  writer.put_bytes(header.parent_key.bytes);
  KVAULT_ASSERT(bytes.size() == kRecordHeaderSize);
  return bytes;
}

Result<> check_size(std::span<const std::byte> bytes, std::uint64_t needed) {
  if (bytes.size() >= needed) return {};
  return fail(Errc::truncated, message("a record needs ", needed, " bytes and has ", bytes.size()));
}

Result<> check_constants(const Constants& constants) {
  const Constants known;
  const auto refuse = [](std::string_view what, std::uint64_t found, std::uint64_t expected) {
    return fail(Errc::unknown_format,
                message("a record with ", what, " ", found, "; this build knows ", expected));
  };
  if (constants.page_size != known.page_size) {
    return refuse("page size", constants.page_size, known.page_size);
  }
  if (constants.table_id != known.table_id) {
    return refuse("table id", constants.table_id, known.table_id);
  }
  if (constants.rotation_seed != known.rotation_seed) {
    return refuse("rotation seed", constants.rotation_seed, known.rotation_seed);
  }
  if (constants.flags > kFlagSealed) return refuse("flags", constants.flags, kFlagSealed);
  if (constants.reserved != 0) return refuse("reserved word", constants.reserved, 0);
  return {};
}

/// The version a record of this kind is written in.
std::uint16_t version_of(RecordKind kind) {
  return kind == RecordKind::commit ? kCommitVersion : kRecordVersion;
}

Result<> check_magic(const Constants& constants, const RecordHeader& header) {
  if (constants.magic != kRecordMagic) {
    return fail(Errc::unknown_format,
                message("magic ", constants.magic, " where a record has ", kRecordMagic));
  }
  if (header.version < kRecordVersion || header.version > version_of(header.kind)) {
    return fail(Errc::unknown_format, message("record version ", header.version,
                                              "; this build knows 1 to ", version_of(header.kind)));
  }
  return {};
}

/// Sizes that agree with each other, so that sums of them cannot overflow afterwards.
Result<> check_sizes(const RecordHeader& header) {
  const bool is_bounded = header.meta_bytes <= kRecordMetaSizeMax &&
                          header.payload_bytes <= kRecordSizeMax &&
                          header.length_bytes <= kRecordSizeMax;
  // Earlier writers began payloads at multiples of 4096.
  const bool is_placed = header.payload_offset % kChunkAlignment == 0 &&
                         header.payload_offset >= header.head_bytes() &&
                         header.payload_offset - header.head_bytes() < kRecordAlignment;
  if (is_bounded && is_placed &&
      header.length_bytes ==
          align_up(header.payload_offset + header.payload_bytes, kRecordAlignment)) {
    return {};
  }
  return fail(Errc::corrupt,
              message("a record with length ", header.length_bytes, ", meta ", header.meta_bytes,
                      ", payload ", header.payload_bytes, " at ", header.payload_offset));
}

Result<> check_fields(const RecordHeader& header) {
  const auto kind = static_cast<unsigned>(header.kind);
  if (kind < 1 || kind > static_cast<unsigned>(RecordKind::tombstone)) {
    return fail(Errc::unknown_format, message("record kind ", kind, " is not known"));
  }
  const bool has_tokens = header.kind == RecordKind::page || header.kind == RecordKind::tail;
  const bool has_payload = has_tokens || header.kind == RecordKind::snapshot;
  bool is_valid = header.n_token <= kRecordTokensMax && header.first_token <= kSessionTokensMax &&
                  has_tokens == (header.n_token > 0);
  if (header.kind == RecordKind::page) {
    is_valid = is_valid && header.n_token == kPageTokens && header.first_token % kPageTokens == 0;
  }
  if (!has_payload) {
    is_valid =
        is_valid && header.first_token == 0 && header.n_chunk == 0 && header.payload_bytes == 0;
  }
  if (header.kind == RecordKind::tombstone) {
    is_valid = is_valid && header.meta_bytes == 0 && !header.is_sealed;
  }
  if (is_valid) return {};
  return fail(Errc::corrupt, message("a ", name_of(header.kind), " record of ", header.n_token,
                                     " tokens from ", header.first_token, " with ", header.n_chunk,
                                     " chunks in ", header.payload_bytes, " bytes"));
}

bool is_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

Result<> check_zero(std::span<const std::byte> record, std::uint64_t begin, std::uint64_t end) {
  if (is_zero(record.subspan(begin, end - begin))) return {};
  return fail(Errc::corrupt, message("bytes ", begin, " to ", end, " of a record are not zero"));
}

}  // namespace

std::string_view name_of(RecordKind kind) noexcept {
  switch (kind) {
    case RecordKind::page:
      return "page";
    case RecordKind::tail:
      return "tail";
    case RecordKind::snapshot:
      return "snapshot";
    case RecordKind::commit:
      return "commit";
    case RecordKind::tombstone:
      return "tombstone";
  }
  return "?";
}

void place_payload(RecordHeader& header, std::uint64_t meta_bytes, std::uint64_t payload_bytes) {
  header.meta_bytes = meta_bytes;
  header.payload_bytes = payload_bytes;
  header.payload_offset = align_up(header.head_bytes(), kChunkAlignment);
  header.length_bytes = align_up(header.payload_offset + payload_bytes, kRecordAlignment);
}

std::vector<std::byte> serialise_head(RecordHeader& header, std::span<const std::byte> meta) {
  KVAULT_ASSERT(header.meta_bytes == meta.size());
  header.version = version_of(header.kind);
  std::vector<std::byte> bytes = write_fields(header, 0);
  bytes.insert(bytes.end(), meta.begin(), meta.end());
  header.checksum = payload_checksum(bytes);
  const std::vector<std::byte> fields = write_fields(header, header.checksum);
  std::copy(fields.begin(), fields.end(), bytes.begin());
  return bytes;
}

Result<RecordHeader> parse_header(std::span<const std::byte> bytes) {
  KVAULT_CHECK(check_size(bytes, kRecordHeaderSize));
  Constants constants;
  const RecordHeader header = read_fields(bytes, constants);
  KVAULT_CHECK(check_magic(constants, header));
  KVAULT_CHECK(check_sizes(header));
  KVAULT_CHECK(check_constants(constants));
  KVAULT_CHECK(check_fields(header));
  return header;
}

Result<RecordHeader> parse_head(std::span<const std::byte> bytes) {
  KVAULT_CHECK(check_size(bytes, kRecordHeaderSize));
  Constants constants;
  const RecordHeader header = read_fields(bytes, constants);
  KVAULT_CHECK(check_magic(constants, header));
  KVAULT_CHECK(check_sizes(header));
  KVAULT_CHECK(check_size(bytes, header.head_bytes()));
  // The checksum before what the fields mean: damage is not to be taken for a newer version.
  std::vector<std::byte> head(bytes.begin(),
                              bytes.begin() + static_cast<std::ptrdiff_t>(header.head_bytes()));
  std::fill_n(head.begin() + kChecksumOffset, sizeof(std::uint64_t), std::byte{0});
  const std::uint64_t checksum = payload_checksum(head);
  if (checksum != header.checksum) {
    return fail(Errc::corrupt, message("a record's header has the checksum ", header.checksum,
                                       ", its bytes have ", checksum));
  }
  KVAULT_CHECK(check_constants(constants));
  KVAULT_CHECK(check_fields(header));
  return header;
}

Result<RecordHeader> verify_record(std::span<const std::byte> record, KeyFinder* keys) {
  KVAULT_TRY(const RecordHeader header, parse_head(record));
  KVAULT_CHECK(check_size(record, header.length_bytes));
  std::uint64_t at = header.head_bytes();
  if (header.kind == RecordKind::commit) {
    KVAULT_CHECK(parse_commit_meta(header, record, keys));
  } else if (header.kind != RecordKind::tombstone) {
    KVAULT_TRY(const PayloadMeta meta, parse_payload_meta(header, record, keys));
    for (const Chunk& chunk : meta.chunks) {
      const std::uint64_t begin = header.payload_offset + chunk.offset_bytes;
      KVAULT_CHECK(check_zero(record, at, begin));
      const std::uint64_t checksum = payload_checksum(record.subspan(begin, chunk.size_bytes));
      if (checksum != chunk.checksum) {
        return fail(Errc::corrupt, message("the ", name_of(chunk.kind), " of layer ", chunk.layer,
                                           " should have the checksum ", chunk.checksum,
                                           ", its bytes have ", checksum));
      }
      at = begin + chunk.size_bytes;
    }
  }
  KVAULT_CHECK(check_zero(record, at, header.length_bytes));
  return header;
}

}  // namespace kvault
