#include <algorithm>
#include <optional>

#include "core/format/bytes.hpp"
#include "core/format/record.hpp"
#include "core/layout/block_layout.hpp"
#include "core/seal/seal.hpp"

namespace kvault {
namespace {

constexpr std::uint64_t kChunkEntrySize = 32;
constexpr std::uint64_t kLiveEntrySize = 56;
constexpr std::uint64_t kCommitFieldsSize = 40;

Result<> check_chunk(const Chunk& chunk, std::uint32_t index, std::uint64_t begin_min,
                     std::uint64_t payload_bytes) {
  const bool is_placed = chunk.offset_bytes % kChunkAlignment == 0 &&
                         chunk.offset_bytes >= begin_min && chunk.offset_bytes <= payload_bytes &&
                         chunk.size_bytes <= payload_bytes - chunk.offset_bytes;
  if (!is_placed) {
    return fail(Errc::corrupt, message("chunk ", index, " has ", chunk.size_bytes, " bytes at ",
                                       chunk.offset_bytes, " of a payload of ", payload_bytes,
                                       "; the one before it ends at ", begin_min));
  }
  if (chunk.layer >= kLayersMax) {
    return fail(Errc::corrupt, message("chunk ", index, " belongs to layer ", chunk.layer));
  }
  return {};
}

/// Reads an entry; n_format is how many format bytes it has at the end of the meta.
Result<Chunk> take_chunk(ByteReader& reader, std::uint32_t index, std::uint16_t& n_format) {
  Chunk chunk;
  const auto kind = reader.take<std::uint8_t>();
  const auto packing = reader.take<std::uint8_t>();
  n_format = reader.take<std::uint16_t>();
  chunk.layer = reader.take<std::uint32_t>();
  chunk.offset_bytes = reader.take<std::uint64_t>();
  chunk.size_bytes = reader.take<std::uint64_t>();
  chunk.checksum = reader.take<std::uint64_t>();
  if (kind < 1 || kind > static_cast<std::uint16_t>(ChunkKind::recurrent_state) || packing > 1) {
    return fail(Errc::unknown_format,
                message("chunk ", index, " has the kind ", unsigned{kind}, " and the packing ",
                        unsigned{packing}, ", of which one is not known"));
  }
  chunk.kind = static_cast<ChunkKind>(kind);
  chunk.is_packed = packing == 1;
  const bool is_segment = chunk.kind == ChunkKind::segment;
  if (is_segment != (n_format > 0) || n_format % 2 != 0 || n_format > 2 * kHeadsMax) {
    return fail(Errc::corrupt, message("chunk ", index, ", a ", name_of(chunk.kind), ", has ",
                                       n_format, " block formats"));
  }
  return chunk;
}

Result<> take_formats(ByteReader& reader, std::uint32_t index, std::uint16_t n_format,
                      Chunk& chunk) {
  chunk.formats.reserve(n_format);
  for (const std::byte byte : reader.take_bytes(n_format)) {
    const auto number = std::to_integer<std::uint8_t>(byte);
    const std::optional<BlockFormat> format = BlockFormat::from_byte(number);
    if (!format) {
      return fail(Errc::unknown_format,
                  message("chunk ", index, " has the unknown block format ", number));
    }
    chunk.formats.push_back(*format);
  }
  return {};
}

Result<> check_live(const LiveRecord& live, std::uint32_t index) {
  const bool is_page = live.kind == RecordKind::page;
  const bool is_tail = live.kind == RecordKind::tail;
  const bool is_aligned =
      live.offset_bytes % kRecordAlignment == 0 && live.length_bytes % kRecordAlignment == 0;
  const bool is_placed = live.offset_bytes >= kRecordAlignment && live.length_bytes > 0 &&
                         live.length_bytes <= kRecordSizeMax &&
                         live.offset_bytes <= (std::uint64_t{1} << 62U);
  bool is_valid = is_aligned && is_placed && live.pack_number > 0 &&
                  (live.pack_kind == PackKind::pages) == is_page &&
                  live.first_token <= kSessionTokensMax && live.n_token <= kRecordTokensMax &&
                  (live.n_token > 0) == (is_page || is_tail);
  if (is_page) {
    is_valid = is_valid && live.n_token == kPageTokens && live.first_token % kPageTokens == 0;
  }
  if (is_valid) return {};
  return fail(Errc::corrupt,
              message("live record ", index, ", a ", name_of(live.kind), " of ", live.n_token,
                      " tokens from ", live.first_token, ", is ", live.length_bytes, " bytes at ",
                      live.offset_bytes, " of pack ", live.pack_number));
}

Result<LiveRecord> take_live(ByteReader& reader, std::uint32_t index) {
  LiveRecord live;
  const auto kind = reader.take<std::uint8_t>();
  const auto pack_kind = reader.take<std::uint8_t>();
  const auto reserved = reader.take<std::uint16_t>();
  live.pack_number = reader.take<std::uint32_t>();
  live.offset_bytes = reader.take<std::uint64_t>();
  live.length_bytes = reader.take<std::uint64_t>();
  live.first_token = reader.take<std::uint64_t>();
  live.n_token = reader.take<std::uint32_t>();
  const auto reserved_too = reader.take<std::uint32_t>();
  live.transaction = reader.take<std::uint64_t>();
  live.checksum = reader.take<std::uint64_t>();
  if (kind < 1 || kind > static_cast<std::uint8_t>(RecordKind::snapshot) || pack_kind > 1 ||
      reserved != 0 || reserved_too != 0) {
    return fail(Errc::unknown_format,
                message("live record ", index, " has kind ", kind, ", pack kind ", pack_kind,
                        " and reserved ", reserved, " and ", reserved_too));
  }
  live.kind = static_cast<RecordKind>(kind);
  live.pack_kind = static_cast<PackKind>(pack_kind);
  KVAULT_CHECK(check_live(live, index));
  return live;
}

void put_live(ByteWriter& writer, const LiveRecord& live) {
  writer.put(static_cast<std::uint8_t>(live.kind));
  writer.put(static_cast<std::uint8_t>(live.pack_kind));
  writer.put(std::uint16_t{0});
  writer.put(live.pack_number);
  writer.put(live.offset_bytes);
  writer.put(live.length_bytes);
  writer.put(live.first_token);
  writer.put(live.n_token);
  writer.put(std::uint32_t{0});
  writer.put(live.transaction);
  writer.put(live.checksum);
}

/// The meta behind the header. Errc::truncated where `head` does not hold it.
Result<std::span<const std::byte>> meta_of(const RecordHeader& header,
                                           std::span<const std::byte> head) {
  if (head.size() < header.head_bytes()) {
    return fail(Errc::truncated,
                message("a record's head of ", header.head_bytes(), " bytes has ", head.size()));
  }
  return head.subspan(kRecordHeaderSize, header.meta_bytes);
}

/// The meta as it was before it was sealed, or where it lies if it is not sealed.
class PlainMeta {
 public:
  static Result<PlainMeta> of(const RecordHeader& header, std::span<const std::byte> head,
                              KeyFinder* keys) {
    PlainMeta meta;
    KVAULT_TRY(meta.bytes_, meta_of(header, head));
    if (keys == nullptr && header.is_sealed) {
      return fail(Errc::unsupported, "a sealed record, read without keys");
    }
    if (keys == nullptr) return meta;
    // Anybody could have put it there.
    if (!header.is_sealed) return fail(Errc::corrupt, "a record in the clear among sealed ones");
    KVAULT_TRY(const SessionId family, family_of(header, head));
    KVAULT_TRY(const SecretKey* key, keys->find(family));
    KVAULT_TRY(meta.unsealed_, unseal(*key, meta.bytes_.subspan(family.bytes.size()),
                                      sealed_meta_context(header, family)));
    meta.bytes_ = meta.unsealed_;
    return meta;
  }
  PlainMeta(PlainMeta&&) noexcept = default;  // a moved vector keeps its bytes where they are
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  PlainMeta() = default;
  std::vector<std::byte> unsealed_;
  std::span<const std::byte> bytes_;
};

}  // namespace

Result<SessionId> family_of(const RecordHeader& header, std::span<const std::byte> head) {
  SessionId family;
  if (!header.is_sealed) return family;
  KVAULT_TRY(const std::span<const std::byte> meta, meta_of(header, head));
  if (meta.size() < family.bytes.size()) {
    return fail(Errc::corrupt, message("a sealed meta of ", meta.size(), " bytes"));
  }
  std::copy_n(meta.begin(), family.bytes.size(), family.bytes.begin());
  return family;
}

std::vector<std::byte> sealed_meta_context(const RecordHeader& header, const SessionId& family) {
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  writer.put_text("kvault meta");
  writer.put_bytes(family.bytes);
  writer.put(static_cast<std::uint16_t>(header.kind));
  writer.put_bytes(header.session.bytes);
  writer.put(header.first_token);
  writer.put(header.n_token);
  writer.put(header.n_chunk);
  if (header.kind == RecordKind::commit) {
    writer.put(header.commit_number);
    writer.put(header.transaction);
  }
  return bytes;
}

std::string_view name_of(ChunkKind kind) noexcept {
  switch (kind) {
    case ChunkKind::segment:
      return "segment";
    case ChunkKind::rows:
      return "rows";
    case ChunkKind::equaliser:
      return "equaliser";
    case ChunkKind::query_energy:
      return "query energy";
    case ChunkKind::recurrent_state:
      return "recurrent state";
  }
  return "?";
}

std::uint64_t place_chunks(std::span<Chunk> chunks) noexcept {
  std::uint64_t end = 0;
  for (Chunk& chunk : chunks) {
    chunk.offset_bytes = align_up(end, kChunkAlignment);
    end = chunk.offset_bytes + chunk.size_bytes;
  }
  return end;
}

std::vector<std::byte> serialise_payload_meta(const PayloadMeta& meta) {
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  for (const std::uint32_t token_id : meta.token_ids) writer.put(token_id);
  for (const Chunk& chunk : meta.chunks) {
    writer.put(static_cast<std::uint8_t>(chunk.kind));
    writer.put(static_cast<std::uint8_t>(chunk.is_packed));
    writer.put(static_cast<std::uint16_t>(chunk.formats.size()));
    writer.put(chunk.layer);
    writer.put(chunk.offset_bytes);
    writer.put(chunk.size_bytes);
    writer.put(chunk.checksum);
  }
  for (const Chunk& chunk : meta.chunks) {
    for (const BlockFormat format : chunk.formats) writer.put(format.byte());
  }
  return bytes;
}

std::uint64_t payload_meta_size_bytes(const PayloadMeta& meta) noexcept {
  std::uint64_t size_bytes =
      meta.token_ids.size() * sizeof(std::uint32_t) + meta.chunks.size() * kChunkEntrySize;
  for (const Chunk& chunk : meta.chunks) size_bytes += chunk.formats.size();
  return size_bytes;
}

Result<PayloadMeta> parse_payload_meta(const RecordHeader& header, std::span<const std::byte> head,
                                       KeyFinder* keys) {
  KVAULT_TRY(const PlainMeta plain, PlainMeta::of(header, head, keys));
  const std::span<const std::byte> bytes = plain.bytes();
  ByteReader reader(bytes);
  const std::uint64_t fixed_size =
      std::uint64_t{4} * header.n_token + kChunkEntrySize * header.n_chunk;
  if (fixed_size > bytes.size()) {
    return fail(Errc::corrupt, message("a meta of ", bytes.size(), " bytes for ", header.n_token,
                                       " tokens and ", header.n_chunk, " chunks"));
  }
  PayloadMeta meta;
  meta.token_ids.reserve(header.n_token);
  for (std::uint32_t i = 0; i < header.n_token; ++i) {
    meta.token_ids.push_back(reader.take<std::uint32_t>());
  }
  std::vector<std::uint16_t> n_formats(header.n_chunk);
  meta.chunks.reserve(header.n_chunk);
  std::uint64_t end = 0;
  for (std::uint32_t i = 0; i < header.n_chunk; ++i) {
    KVAULT_TRY(Chunk chunk, take_chunk(reader, i, n_formats[i]));
    KVAULT_CHECK(check_chunk(chunk, i, end, header.payload_bytes));
    end = chunk.offset_bytes + chunk.size_bytes;
    meta.chunks.push_back(std::move(chunk));
  }
  for (std::uint32_t i = 0; i < header.n_chunk; ++i) {
    KVAULT_CHECK(take_formats(reader, i, n_formats[i], meta.chunks[i]));
  }
  if (reader.is_short() || reader.left() != 0) {
    return fail(Errc::corrupt, message("a meta of ", bytes.size(), " bytes does not end with the ",
                                       "formats of its ", header.n_chunk, " chunks"));
  }
  return meta;
}

Result<std::vector<std::byte>> serialise_commit_meta(const CommitMeta& meta) {
  if (meta.records.size() > kLiveRecordsMax) {
    return fail(Errc::limit_exceeded, message("a commit with ", meta.records.size(),
                                              " live records; the limit is ", kLiveRecordsMax));
  }
  KVAULT_TRY(const std::vector<std::byte> description, serialise_description(meta.description));
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  writer.put(meta.n_token);
  writer.put(meta.n_page);
  writer.put(meta.created_at_s);
  writer.put(meta.committed_at_s);
  writer.put(static_cast<std::uint32_t>(description.size()));
  writer.put(static_cast<std::uint32_t>(meta.records.size()));
  writer.put_bytes(description);
  for (const LiveRecord& live : meta.records) put_live(writer, live);
  KVAULT_CHECK(check_attributes(meta.attributes));
  put_attributes(writer, meta.attributes);
  return bytes;
}

Result<CommitMeta> parse_commit_meta(const RecordHeader& header, std::span<const std::byte> head,
                                     KeyFinder* keys) {
  KVAULT_TRY(const PlainMeta plain, PlainMeta::of(header, head, keys));
  const std::span<const std::byte> bytes = plain.bytes();
  ByteReader reader(bytes);
  CommitMeta meta;
  meta.n_token = reader.take<std::uint64_t>();
  meta.n_page = reader.take<std::uint64_t>();
  meta.created_at_s = reader.take<std::uint64_t>();
  meta.committed_at_s = reader.take<std::uint64_t>();
  const auto description_size = reader.take<std::uint32_t>();
  const auto n_record = reader.take<std::uint32_t>();
  const std::uint64_t size =
      kCommitFieldsSize + description_size + n_record * std::uint64_t{kLiveEntrySize};
  const bool has_attributes = header.version >= 2;
  if (reader.is_short() || n_record > kLiveRecordsMax || bytes.size() < size ||
      (!has_attributes && bytes.size() > size)) {
    return fail(Errc::corrupt, message("a commit's meta of ", bytes.size(), " bytes for ", n_record,
                                       " records and a description of ", description_size));
  }
  if (meta.n_token > kSessionTokensMax || meta.n_page > meta.n_token / kPageTokens) {
    return fail(Errc::corrupt,
                message("a commit of ", meta.n_token, " tokens in ", meta.n_page, " pages"));
  }
  KVAULT_TRY(meta.description, parse_description(reader.take_bytes(description_size)));
  meta.records.reserve(n_record);
  for (std::uint32_t i = 0; i < n_record; ++i) {
    KVAULT_TRY(LiveRecord live, take_live(reader, i));
    meta.records.push_back(live);
  }
  if (has_attributes) {
    KVAULT_TRY(meta.attributes, take_attributes(reader));
  }
  if (reader.left() == 0) return meta;
  return fail(Errc::corrupt, message("a commit's meta has ", reader.left(), " bytes too many"));
}

}  // namespace kvault
