#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/format/description.hpp"
#include "core/format/record_check.hpp"
#include "core/format/sealed_record.hpp"
#include "core/format/session_key.hpp"
#include "tests/support/random.hpp"

/// Sessions and records for tests of stores: small, random, and in order.
namespace kvault::test {

/// One full-attention layer, one sliding window, and a recurrent one where asked for.
inline SessionDescription small_session(std::string name, bool is_recurrent = false) {
  SessionDescription description;
  description.name = std::move(name);
  description.identity = {{"weights", "sha256:00"}};
  description.shape.layers = {{.kind = LayerKind::full_attention,
                               .n_head = 2,
                               .n_kv_head = 1,
                               .key_head_dim = 32,
                               .value_head_dim = 32,
                               .key_scheme = Scheme::tq4,
                               .value_scheme = Scheme::tq2},
                              {.kind = LayerKind::sliding_window,
                               .n_head = 1,
                               .n_kv_head = 1,
                               .key_head_dim = 2,
                               .value_head_dim = 2,
                               .window = 16}};
  if (is_recurrent) description.shape.layers.push_back({.kind = LayerKind::recurrent});
  return description;
}

/// A record to store, with its bytes: random ones of the right sizes and checksums, other ones for
/// another seed.
struct Upload {
  RecordDraft draft;
  std::vector<std::byte> payload;
};

inline Upload make_upload(const ModelShape& shape, RecordDraft draft, std::uint64_t seed) {
  for (Chunk& chunk : draft.meta.chunks) {
    if (chunk.kind == ChunkKind::recurrent_state) continue;
    chunk.size_bytes = chunk_size_bytes(shape, chunk, draft.n_token).value();
  }
  draft.payload_bytes = place_chunks(draft.meta.chunks);
  std::vector<std::byte> payload(draft.payload_bytes);
  Random random(seed);
  for (Chunk& chunk : draft.meta.chunks) {
    const auto bytes = std::span(payload).subspan(chunk.offset_bytes, chunk.size_bytes);
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::uint64_t)) {
      const std::uint64_t word = random.next();
      std::memcpy(bytes.data() + at, &word, std::min(sizeof word, bytes.size() - at));
    }
    chunk.checksum = payload_checksum(bytes);
  }
  return {std::move(draft), std::move(payload)};
}

/// token_ids: [kPageTokens]. has_windows: the rows of sliding layers are still there.
inline Upload page_upload(const ModelShape& shape, std::uint64_t page,
                          std::span<const std::uint32_t> token_ids, std::uint64_t seed,
                          bool has_windows = true) {
  RecordDraft draft{
      .kind = RecordKind::page, .first_token = page * kPageTokens, .n_token = kPageTokens};
  draft.meta.token_ids.assign(token_ids.begin(), token_ids.end());
  const BlockFormat raw = BlockFormat::raw(shape.row_type);
  draft.meta.chunks.push_back(
      {.kind = ChunkKind::segment,
       .layer = 0,
       .formats = {BlockFormat::coded(Scheme::tq4, true), BlockFormat::coded(Scheme::tq2, false)}});
  if (has_windows) {
    draft.meta.chunks.push_back({.kind = ChunkKind::segment, .layer = 1, .formats = {raw, raw}});
  }
  if (page == 0) draft.meta.chunks.push_back({.kind = ChunkKind::equaliser, .layer = 0});
  return make_upload(shape, std::move(draft), seed);
}

inline Upload tail_upload(const ModelShape& shape, std::uint64_t first_token,
                          std::span<const std::uint32_t> token_ids, std::uint64_t seed) {
  RecordDraft draft{.kind = RecordKind::tail,
                    .first_token = first_token,
                    .n_token = static_cast<std::uint32_t>(token_ids.size())};
  draft.meta.token_ids.assign(token_ids.begin(), token_ids.end());
  draft.meta.chunks = {{.kind = ChunkKind::rows, .layer = 0},
                       {.kind = ChunkKind::rows, .layer = 1}};
  return make_upload(shape, std::move(draft), seed);
}

inline Upload snapshot_upload(const ModelShape& shape, std::uint64_t position,
                              std::uint64_t seed = 1) {
  RecordDraft draft{.kind = RecordKind::snapshot, .first_token = position};
  draft.meta.chunks = {{.kind = ChunkKind::recurrent_state, .layer = 2, .size_bytes = 700}};
  return make_upload(shape, std::move(draft), seed);
}

/// As a client of an encrypted namespace sends it.
inline Upload sealed(const SessionKey& key, const Upload& plain) {
  Upload upload{plain.draft, {}};
  std::vector<std::vector<std::byte>> chunks;
  for (Chunk& chunk : upload.draft.meta.chunks) {
    const auto bytes = std::span(plain.payload).subspan(chunk.offset_bytes, chunk.size_bytes);
    chunks.push_back(seal_chunk(key.key, key.family, upload.draft, chunk, bytes));
    chunk.size_bytes = chunks.back().size();
    chunk.checksum = payload_checksum(chunks.back());
  }
  upload.draft.payload_bytes = place_chunks(upload.draft.meta.chunks);
  upload.payload.resize(upload.draft.payload_bytes);
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    const std::uint64_t begin = upload.draft.meta.chunks[i].offset_bytes;
    std::copy(chunks[i].begin(), chunks[i].end(),
              upload.payload.begin() + static_cast<std::ptrdiff_t>(begin));
  }
  return upload;
}

}  // namespace kvault::test
