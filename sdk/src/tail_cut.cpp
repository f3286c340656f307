#include "sdk/src/tail_cut.hpp"

#include <algorithm>

#include "core/format/record_check.hpp"
#include "core/format/row_packing.hpp"

namespace kvault {
namespace {

/// The chunk's bytes in `record`, unpacked.
Result<std::vector<std::byte>> plain_bytes(const ModelShape& shape, const RecordHeader& header,
                                           const Chunk& chunk, std::span<const std::byte> record) {
  const auto bytes = record.subspan(header.payload_offset + chunk.offset_bytes, chunk.size_bytes);
  if (!chunk.is_packed) return std::vector<std::byte>(bytes.begin(), bytes.end());
  KVAULT_TRY(const std::uint64_t size_bytes, chunk_size_bytes(shape, chunk, header.n_token));
  std::vector<std::byte> rows(size_bytes);
  KVAULT_CHECK(RowUnpacker().unpack(bytes, size_bytes_of(shape.row_type), rows));
  return rows;
}

/// The parts of a chunk that belong to the first tokens: K rows and V rows, or what is one row per
/// token, or all of it.
std::vector<std::byte> cut_chunk(const ModelShape& shape, const Chunk& chunk,
                                 std::span<const std::byte> bytes, std::uint32_t n_before,
                                 std::uint32_t n_token) {
  const LayerSpec& layer = shape.layers[chunk.layer];
  const std::size_t key_row_bytes =
      std::size_t{layer.n_kv_head} * layer.key_head_dim * size_bytes_of(shape.row_type);
  std::vector<std::span<const std::byte>> sides;
  if (chunk.kind == ChunkKind::rows) {
    sides = {bytes.first(n_before * key_row_bytes), bytes.subspan(n_before * key_row_bytes)};
  } else if (chunk.kind == ChunkKind::query_energy) {
    sides = {bytes};
  } else {
    return {bytes.begin(), bytes.end()};
  }
  std::vector<std::byte> kept;
  for (const std::span<const std::byte> side : sides) {
    const std::span<const std::byte> part = side.first(side.size() / n_before * n_token);
    kept.insert(kept.end(), part.begin(), part.end());
  }
  return kept;
}

}  // namespace

Result<std::vector<std::byte>> cut_tail(const ModelShape& shape, std::span<const std::byte> record,
                                        std::uint32_t n_token) {
  KVAULT_TRY(RecordHeader header, parse_head(record));
  KVAULT_TRY(PayloadMeta meta, parse_payload_meta(header, record));
  const RecordDraft draft{header.kind, header.first_token, header.n_token, meta,
                          header.payload_bytes};
  if (const Result<> fits = check_draft(shape, draft); !fits || header.kind != RecordKind::tail) {
    return fail(Errc::corrupt, message("a ", name_of(header.kind), " record at token ",
                                       header.first_token, " is no tail of its session"));
  }
  std::vector<std::vector<std::byte>> chunks;
  for (Chunk& chunk : meta.chunks) {
    KVAULT_TRY(const std::vector<std::byte> bytes, plain_bytes(shape, header, chunk, record));
    chunks.push_back(cut_chunk(shape, chunk, bytes, header.n_token, n_token));
    chunk.is_packed = false;
    chunk.size_bytes = chunks.back().size();
    chunk.checksum = payload_checksum(chunks.back());
  }
  meta.token_ids.resize(n_token);
  header.n_token = n_token;
  const std::uint64_t payload_bytes = place_chunks(meta.chunks);
  const std::vector<std::byte> meta_bytes = serialise_payload_meta(meta);
  place_payload(header, meta_bytes.size(), payload_bytes);
  std::vector<std::byte> result = serialise_head(header, meta_bytes);
  result.resize(header.length_bytes);
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    const std::uint64_t begin = header.payload_offset + meta.chunks[i].offset_bytes;
    std::copy(chunks[i].begin(), chunks[i].end(),
              result.begin() + static_cast<std::ptrdiff_t>(begin));
  }
  return result;
}

}  // namespace kvault
