#include "tests/torture/model/upload.hpp"

#include <algorithm>

#include "core/format/sealed_record.hpp"

#include <algorithm>
#include <cstring>

#include "tests/support/random.hpp"

namespace kvault::torture {
namespace {

constexpr std::uint64_t kStateBytes = 700;

Upload make_upload(const ModelShape& shape, RecordDraft draft, std::uint64_t seed) {
  for (Chunk& chunk : draft.meta.chunks) {
    if (chunk.kind == ChunkKind::recurrent_state) continue;
    chunk.size_bytes = chunk_size_bytes(shape, chunk, draft.n_token).value();
  }
  draft.payload_bytes = place_chunks(draft.meta.chunks);
  std::vector<std::byte> payload(draft.payload_bytes);
  test::Random random(seed);
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

}  // namespace

SessionDescription describe(std::string name, bool is_recurrent) {
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

bool has_recurrent_layers(const ModelShape& shape) {
  return std::any_of(shape.layers.begin(), shape.layers.end(),
                     [](const LayerSpec& layer) { return layer.kind == LayerKind::recurrent; });
}

std::vector<std::uint32_t> prompt_tokens(std::uint32_t prompt, std::uint64_t first,
                                         std::uint32_t count) {
  std::vector<std::uint32_t> tokens(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    tokens[i] = test::Random(prompt * 1'000'000 + first + i).integer(0, 150'000);
  }
  return tokens;
}

std::uint64_t seed_of(std::span<const std::uint32_t> token_ids) {
  return payload_checksum(std::as_bytes(token_ids));
}

Upload page_upload(const ModelShape& shape, std::uint64_t page,
                   std::span<const std::uint32_t> token_ids, std::uint64_t seed, bool has_windows) {
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

Upload tail_upload(const ModelShape& shape, std::uint64_t first_token,
                   std::span<const std::uint32_t> token_ids, std::uint64_t seed) {
  RecordDraft draft{.kind = RecordKind::tail,
                    .first_token = first_token,
                    .n_token = static_cast<std::uint32_t>(token_ids.size())};
  draft.meta.token_ids.assign(token_ids.begin(), token_ids.end());
  draft.meta.chunks = {{.kind = ChunkKind::rows, .layer = 0},
                       {.kind = ChunkKind::rows, .layer = 1}};
  return make_upload(shape, std::move(draft), seed);
}

Upload snapshot_upload(const ModelShape& shape, std::uint64_t position, std::uint64_t seed) {
  RecordDraft draft{.kind = RecordKind::snapshot, .first_token = position};
  draft.meta.chunks = {{.kind = ChunkKind::recurrent_state, .layer = 2, .size_bytes = kStateBytes}};
  return make_upload(shape, std::move(draft), seed);
}

SecretKey test_secret() {
  return SecretKey::from_bytes(std::vector<std::byte>(kSecretKeySize, std::byte{0x5A})).value();
}

Upload sealed(const SessionKey& key, const Upload& plain) {
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
    std::copy(chunks[i].begin(), chunks[i].end(),
              upload.payload.begin() +
                  static_cast<std::ptrdiff_t>(upload.draft.meta.chunks[i].offset_bytes));
  }
  return upload;
}

}  // namespace kvault::torture
