#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "core/format/attributes.hpp"
#include "core/format/description.hpp"
#include "core/format/payload_hash.hpp"
#include "core/format/session_id.hpp"
#include "core/format/session_key.hpp"
#include "core/layout/scheme.hpp"

/// Records: what a pack is made of, as pure bytes. docs/format.md, section 4, is the text of the
/// format; nothing here touches a file.
namespace kvault {

inline constexpr std::uint32_t kRecordMagic = 0x3152564BU;  ///< "KVR1"
/// The version commits are written in. Version 1 of them had no attributes and is still read; all
/// other kinds are of version 1.
inline constexpr std::uint16_t kCommitVersion = 2;
inline constexpr std::uint16_t kRecordVersion = 1;
inline constexpr std::uint64_t kRecordHeaderSize = 192;
/// Records begin and end at multiples of this within their pack.
inline constexpr std::uint64_t kRecordAlignment = 4096;
/// Payloads begin at multiples of this within their record, chunks within their payload.
inline constexpr std::uint64_t kChunkAlignment = KVAULT_SEGMENT_ALIGNMENT_BYTES;

/// Limits. A record beyond them is refused, read or written.
inline constexpr std::uint64_t kRecordSizeMax = std::uint64_t{1} << 30U;
inline constexpr std::uint64_t kRecordMetaSizeMax = std::uint64_t{1} << 26U;
inline constexpr std::uint32_t kRecordTokensMax = std::uint32_t{1} << 16U;
inline constexpr std::uint64_t kSessionTokensMax = std::uint64_t{1} << 31U;
inline constexpr std::uint32_t kLiveRecordsMax = std::uint32_t{1} << 20U;

enum class RecordKind : std::uint16_t {
  page = 1,      ///< a sealed page: segments of the attention layers
  tail = 2,      ///< raw rows of tokens [first_token, first_token + n_token), every attention layer
  snapshot = 3,  ///< the recurrent layers' states at position first_token; n_token = 0
  commit = 4,    ///< all of a session's live records after one commit; n_token = 0
  tombstone = 5,  ///< the session is removed
};
std::string_view name_of(RecordKind kind) noexcept;

enum class ChunkKind : std::uint16_t {
  segment = 1,          ///< blocks: K of kv head 0, 1, ..., V of kv head 0, 1, ...
  rows = 2,             ///< K rows [n_token][n_kv_head][key_head_dim], then V rows likewise
  equaliser = 3,        ///< f16 [n_kv_head][key_head_dim]; only in page 0, or a tail from token 0
  query_energy = 4,     ///< f32 [n_token][n_kv_head][key_head_dim]; tails beginning below 256
  recurrent_state = 5,  ///< opaque
};
std::string_view name_of(ChunkKind kind) noexcept;

/// The name of a page's content: keyed BLAKE2b-256, chained over the pages before it.
struct PageKey {
  std::array<std::byte, 32> bytes{};
  friend bool operator==(const PageKey&, const PageKey&) = default;
  friend bool operator<(const PageKey& a, const PageKey& b) { return a.bytes < b.bytes; }
};

/// One piece of a record's payload, checked on its own.
struct Chunk {
  ChunkKind kind = ChunkKind::segment;
  std::uint32_t layer = 0;
  std::uint64_t offset_bytes = 0;  ///< from the start of the payload; a multiple of 256
  std::uint64_t size_bytes = 0;
  std::uint64_t checksum = 0;  ///< payload_checksum() of the chunk's bytes
  /// segment only: format bytes of K of kv head 0, 1, ..., then of V of kv head 0, 1, ...
  std::vector<BlockFormat> formats{};
  /// Rows, or a segment of raw blocks: its bytes are what RowPacker makes of them.
  bool is_packed = false;
  friend bool operator==(const Chunk&, const Chunk&) = default;
};

/// What the payload of a page, tail or snapshot holds. Chunks ascend in offset and do not overlap;
/// the bytes between them are zero.
struct PayloadMeta {
  std::vector<std::uint32_t> token_ids{};  ///< [n_token] in pages and tails; empty in snapshots
  std::vector<Chunk> chunks{};
  friend bool operator==(const PayloadMeta&, const PayloadMeta&) = default;
};

enum class PackKind : std::uint8_t { log = 0, pages = 1 };

/// Where a record lies, as a commit record names it.
struct LiveRecord {
  RecordKind kind = RecordKind::page;
  PackKind pack_kind = PackKind::log;
  std::uint32_t pack_number = 0;
  std::uint64_t offset_bytes = 0;  ///< of the record in its pack
  std::uint64_t length_bytes = 0;
  std::uint64_t first_token = 0;
  /// At most what the record holds: after a rollback the rows past it do not exist.
  std::uint32_t n_token = 0;
  std::uint64_t transaction = 0;
  std::uint64_t checksum = 0;  ///< the record's header checksum
  friend bool operator==(const LiveRecord&, const LiveRecord&) = default;
};

/// The meta of a commit record: everything about its session.
struct CommitMeta {
  std::uint64_t n_token = 0;
  std::uint64_t n_page = 0;        ///< sealed pages
  std::uint64_t created_at_s = 0;  ///< of the session, seconds since 1970
  std::uint64_t committed_at_s = 0;
  SessionDescription description{};
  SessionAttributes attributes{};
  std::vector<LiveRecord> records{};
  friend bool operator==(const CommitMeta&, const CommitMeta&) = default;
};

/// The fixed part of a record; docs/format.md says where each field lies. Constants of this version
/// (page size, table, rotation seed) are written and checked, not kept.
struct RecordHeader {
  std::uint16_t version = 0;  ///< set by serialise_head() and parse_header()
  RecordKind kind = RecordKind::page;
  std::uint64_t length_bytes = 0;
  std::uint64_t transaction = 0;
  SessionId session{};
  std::uint64_t commit_number = 0;
  std::uint64_t first_token = 0;
  std::uint32_t n_token = 0;
  std::uint32_t n_chunk = 0;
  std::uint64_t meta_bytes = 0;
  std::uint64_t payload_offset = 0;  ///< from the start of the record
  std::uint64_t payload_bytes = 0;
  std::uint64_t pack_id = 0;   ///< of the pack it was written to
  std::uint64_t checksum = 0;  ///< XXH3-64 of header (this field zero) and meta
  bool is_sealed = false;      ///< meta and chunks are hidden (core/format/sealed_record.hpp)
  PageKey key{};
  PageKey parent_key{};
  friend bool operator==(const RecordHeader&, const RecordHeader&) = default;

  /// Bytes of header and meta: what parse_head() needs.
  std::uint64_t head_bytes() const { return kRecordHeaderSize + meta_bytes; }
};

/// Sets the chunks' offsets one behind the other (sizes are given); returns the payload's bytes.
std::uint64_t place_chunks(std::span<Chunk> chunks) noexcept;

std::vector<std::byte> serialise_payload_meta(const PayloadMeta& meta);
/// How many bytes that makes.
std::uint64_t payload_meta_size_bytes(const PayloadMeta& meta) noexcept;
Result<std::vector<std::byte>> serialise_commit_meta(const CommitMeta& meta);
/// Fills in meta_bytes, payload_offset and length_bytes for a meta and a payload of these sizes.
void place_payload(RecordHeader& header, std::uint64_t meta_bytes, std::uint64_t payload_bytes);
/// Header and meta with their checksum, as stored; `header.checksum` is set to it.
/// pre: place_payload() was called with meta.size().
std::vector<std::byte> serialise_head(RecordHeader& header, std::span<const std::byte> meta);

/// The header alone, checked but for its checksum (which needs the meta). Reads the first 192
/// bytes. Errc::truncated, unknown_format (names what is unknown) or corrupt.
Result<RecordHeader> parse_header(std::span<const std::byte> bytes);
/// The header with its checksum; `bytes` holds at least head_bytes().
Result<RecordHeader> parse_head(std::span<const std::byte> bytes);
/// The meta behind the header: of pages, tails and snapshots; of commits.
/// `head`: what parse_head() accepted. Sealed ones need their key: Errc::unsupported without
/// `keys`, what these answer, and corrupt where they are given and the record is not sealed.
Result<PayloadMeta> parse_payload_meta(const RecordHeader& header, std::span<const std::byte> head,
                                       KeyFinder* keys = nullptr);
Result<CommitMeta> parse_commit_meta(const RecordHeader& header, std::span<const std::byte> head,
                                     KeyFinder* keys = nullptr);
/// Whose key seals the record; all zero where it is not sealed. Errc::corrupt
Result<SessionId> family_of(const RecordHeader& header, std::span<const std::byte> head);
/// What a sealed meta is tied to.
std::vector<std::byte> sealed_meta_context(const RecordHeader& header, const SessionId& family);

/// A whole record, verified to the last byte: head, every chunk's checksum, zero between them.
Result<RecordHeader> verify_record(std::span<const std::byte> record, KeyFinder* keys = nullptr);

}  // namespace kvault
