#pragma once

#include <doctest/doctest.h>

#include <fstream>
#include <string>
#include <vector>

#include "core/format/record.hpp"
#include "core/format/record_check.hpp"
#include "sdk/src/client.hpp"

/// REQUIRE that a Result holds a value, with its words where it does not.
#define REQUIRE_OK(result)                                                                \
  do {                                                                                    \
    const auto& require_ok_result = (result);                                             \
    const std::string words = require_ok_result ? "" : require_ok_result.error().message; \
    REQUIRE_MESSAGE(require_ok_result.has_value(), words);                                \
  } while (false)

namespace kvault::test {

/// A model of one full-attention layer, kept raw: 4 * head_dim bytes per token.
inline SessionDescription describe(const std::string& name, std::uint32_t head_dim = 32) {
  SessionDescription description;
  description.name = name;
  description.identity = {{"rope_freq_base", "10000"}, {"weights", "sha256:1234"}};
  description.shape.row_type = RowType::f16;
  description.shape.layers = {{.kind = LayerKind::full_attention,
                               .n_head = 2,
                               .n_kv_head = 1,
                               .key_head_dim = head_dim,
                               .value_head_dim = head_dim}};
  return description;
}

/// A record with its bytes.
struct Record {
  RecordDraft draft;
  std::vector<std::byte> bytes;
  std::vector<std::span<const std::byte>> pieces;
};

/// A tail of tokens [first, first + n_token) with bytes made of `seed`.
inline Record make_tail(const ModelShape& shape, std::uint64_t first, std::uint32_t n_token,
                        std::uint32_t seed) {
  Record record;
  record.draft.kind = RecordKind::tail;
  record.draft.first_token = first;
  record.draft.n_token = n_token;
  Chunk chunk{.kind = ChunkKind::rows, .formats = {}};
  const Result<std::uint64_t> size = chunk_size_bytes(shape, chunk, n_token);
  REQUIRE_OK(size);
  record.bytes.resize(*size);
  std::uint32_t state = seed * 2654435761U + 1;
  for (std::byte& byte : record.bytes) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<std::byte>(state >> 24U);
  }
  chunk.size_bytes = *size;
  chunk.checksum = payload_checksum(record.bytes);
  record.draft.meta.chunks = {chunk};
  record.draft.payload_bytes = place_chunks(record.draft.meta.chunks);
  for (std::uint32_t i = 0; i < n_token; ++i) {
    record.draft.meta.token_ids.push_back(static_cast<std::uint32_t>(first) + i);
  }
  record.pieces = {record.bytes};
  return record;
}

inline client::RecordUpload upload_of(const Record& record) {
  return {.draft = record.draft, .pieces = record.pieces};
}

/// Appends a tail of `n_token` to a session that is open for writing.
inline Result<client::CommitInfo> append(Client& client, const client::SessionInfo& info,
                                         const ModelShape& shape, std::uint32_t n_token,
                                         std::uint32_t seed = 1) {
  const Record tail = make_tail(shape, info.n_token, n_token, seed);
  const client::RecordUpload upload = upload_of(tail);
  return client.commit(info.id,
                       {.expected_commit_number = info.commit_number,
                        .n_token = info.n_token + n_token,
                        .kept_n_token = info.n_token,
                        .kept_n_page = info.n_page},
                       std::span(&upload, 1));
}

/// The bytes of a stored record, whole.
inline std::vector<std::byte> read_record(const client::RecordPlace& place) {
  std::ifstream file(place.pack_path, std::ios::binary);
  file.seekg(static_cast<std::streamoff>(place.offset_bytes));
  std::vector<std::byte> bytes(place.length_bytes);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  REQUIRE(file.good());
  return bytes;
}

}  // namespace kvault::test
