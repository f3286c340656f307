#include "core/format/sealed_record.hpp"

#include <algorithm>

#include "core/base/assert.hpp"
#include "core/format/bytes.hpp"

namespace kvault {
namespace {

/// What ties a chunk to its place: in another one, or in another session's record, it is refused.
std::vector<std::byte> chunk_context(const SessionId& family, const RecordDraft& record,
                                     const Chunk& chunk) {
  std::vector<std::byte> bytes;
  ByteWriter writer(bytes);
  writer.put_text("kvault chunk");
  writer.put_bytes(family.bytes);
  writer.put(static_cast<std::uint16_t>(record.kind));
  writer.put(record.first_token);
  writer.put(record.n_token);
  writer.put(static_cast<std::uint16_t>(chunk.kind));
  writer.put(chunk.layer);
  return bytes;
}

}  // namespace

std::vector<std::byte> seal_meta(RecordHeader& header, const SessionKey& key,
                                 std::span<const std::byte> meta) {
  header.is_sealed = true;
  const std::vector<std::byte> sealed =
      seal(key.key, meta, sealed_meta_context(header, key.family));
  std::vector<std::byte> bytes(key.family.bytes.begin(), key.family.bytes.end());
  bytes.insert(bytes.end(), sealed.begin(), sealed.end());
  return bytes;
}

std::vector<std::byte> seal_chunk(const SecretKey& key, const SessionId& family,
                                  const RecordDraft& record, const Chunk& chunk,
                                  std::span<const std::byte> plain) {
  return seal(key, plain, chunk_context(family, record, chunk));
}

Result<std::vector<std::byte>> unseal_chunk(const SecretKey& key, const SessionId& family,
                                            const RecordDraft& record, const Chunk& chunk,
                                            std::span<const std::byte> sealed) {
  return unseal(key, sealed, chunk_context(family, record, chunk));
}

Result<std::vector<std::byte>> unseal_record(std::span<const std::byte> record, KeyFinder& keys) {
  KVAULT_TRY(RecordHeader header, parse_head(record));
  KVAULT_ASSERT(header.is_sealed);
  KVAULT_TRY(PayloadMeta meta, parse_payload_meta(header, record, &keys));
  KVAULT_TRY(const SessionId family, family_of(header, record));
  KVAULT_TRY(const SecretKey* key, keys.find(family));
  const RecordDraft place{
      .kind = header.kind, .first_token = header.first_token, .n_token = header.n_token};
  std::vector<std::vector<std::byte>> chunks;
  for (Chunk& chunk : meta.chunks) {
    const auto sealed =
        record.subspan(header.payload_offset + chunk.offset_bytes, chunk.size_bytes);
    KVAULT_TRY(std::vector<std::byte> plain, unseal_chunk(*key, family, place, chunk, sealed));
    chunk.size_bytes = plain.size();
    chunk.checksum = payload_checksum(plain);
    chunks.push_back(std::move(plain));
  }
  const std::uint64_t payload_bytes = place_chunks(meta.chunks);
  const std::vector<std::byte> meta_bytes = serialise_payload_meta(meta);
  header.is_sealed = false;
  place_payload(header, meta_bytes.size(), payload_bytes);
  std::vector<std::byte> bytes = serialise_head(header, meta_bytes);
  bytes.resize(header.length_bytes);
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    const std::uint64_t begin = header.payload_offset + meta.chunks[i].offset_bytes;
    std::copy(chunks[i].begin(), chunks[i].end(),
              bytes.begin() + static_cast<std::ptrdiff_t>(begin));
  }
  return bytes;
}

}  // namespace kvault
