#include "core/format/record_check.hpp"

#include <algorithm>
#include <set>

#include "core/layout/block_layout.hpp"

namespace kvault {
namespace {

/// Tokens whose queries teach the equaliser; tails that begin past them have no query energy.
constexpr std::uint64_t kQueryEnergyTokens = 256;

bool has_coded_keys(const LayerSpec& layer) {
  return layer.kind == LayerKind::full_attention && layer.key_scheme != Scheme::raw;
}

Result<> check_format(const ModelShape& shape, const Chunk& chunk, Side side, BlockFormat format) {
  const LayerSpec& layer = shape.layers[chunk.layer];
  const Scheme scheme = side == Side::key ? layer.key_scheme : layer.value_scheme;
  const bool is_legal =
      format.is_raw() ? format.row_type() == shape.row_type : format.scheme() == scheme;
  if (is_legal) return {};
  return fail(Errc::invalid_argument,
              message("layer ", chunk.layer, ": a ", side == Side::key ? "K" : "V",
                      " block of format ", format.byte(), "; its scheme is ", name_of(scheme),
                      ", its rows are ", name_of(shape.row_type)));
}

Result<std::uint64_t> segment_size_bytes(const ModelShape& shape, const Chunk& chunk) {
  const LayerSpec& layer = shape.layers[chunk.layer];
  if (chunk.formats.size() != std::size_t{2} * layer.n_kv_head) {
    return fail(Errc::shape_mismatch,
                message("layer ", chunk.layer, ": a segment with ", chunk.formats.size(),
                        " block formats for ", layer.n_kv_head, " kv heads"));
  }
  std::uint64_t size_bytes = 0;
  for (std::size_t i = 0; i < chunk.formats.size(); ++i) {
    const Side side = i < layer.n_kv_head ? Side::key : Side::value;
    KVAULT_CHECK(check_format(shape, chunk, side, chunk.formats[i]));
    const std::uint32_t dim = side == Side::key ? layer.key_head_dim : layer.value_head_dim;
    size_bytes += BlockLayout::of(chunk.formats[i], dim).size_bytes;
  }
  return size_bytes;
}

Result<> check_kind_of_layer(const ModelShape& shape, const Chunk& chunk) {
  if (chunk.layer >= shape.layers.size()) {
    return fail(Errc::invalid_argument, message("a chunk of layer ", chunk.layer,
                                                "; the session has ", shape.layers.size()));
  }
  const LayerSpec& layer = shape.layers[chunk.layer];
  bool is_legal = false;
  switch (chunk.kind) {
    case ChunkKind::segment:
    case ChunkKind::rows:
      is_legal = layer.has_attention();
      break;
    case ChunkKind::equaliser:
    case ChunkKind::query_energy:
      is_legal = has_coded_keys(layer);
      break;
    case ChunkKind::recurrent_state:
      is_legal = layer.kind == LayerKind::recurrent;
      break;
  }
  if (is_legal && (chunk.kind == ChunkKind::segment || chunk.formats.empty())) return {};
  return fail(Errc::invalid_argument,
              message("layer ", chunk.layer, " has no ", name_of(chunk.kind), " with ",
                      chunk.formats.size(), " block formats"));
}

/// Which chunks a record may hold, and of which every layer must have one.
bool is_allowed(const RecordDraft& draft, ChunkKind kind) {
  switch (draft.kind) {
    case RecordKind::page:
      return kind == ChunkKind::segment || (kind == ChunkKind::equaliser && draft.first_token == 0);
    case RecordKind::tail:
      return kind == ChunkKind::rows || (kind == ChunkKind::equaliser && draft.first_token == 0) ||
             (kind == ChunkKind::query_energy && draft.first_token < kQueryEnergyTokens);
    case RecordKind::snapshot:
      return kind == ChunkKind::recurrent_state;
    case RecordKind::commit:
    case RecordKind::tombstone:
      return false;
  }
  return false;
}

Result<> check_range(const RecordDraft& draft) {
  bool is_valid = draft.first_token <= kSessionTokensMax;
  switch (draft.kind) {
    case RecordKind::page:
      is_valid = is_valid && draft.n_token == kPageTokens && draft.first_token % kPageTokens == 0;
      break;
    case RecordKind::tail:
      is_valid = is_valid && draft.n_token >= 1 && draft.n_token <= kRecordTokensMax;
      break;
    case RecordKind::snapshot:
      is_valid = is_valid && draft.n_token == 0;
      break;
    case RecordKind::commit:
    case RecordKind::tombstone:
      is_valid = false;
      break;
  }
  if (!is_valid) {
    return fail(Errc::invalid_argument,
                message("a ", name_of(draft.kind), " record of ", draft.n_token,
                        " tokens from token ", draft.first_token));
  }
  if (draft.payload_bytes > kRecordSizeMax) {
    return fail(Errc::limit_exceeded, message("a payload of ", draft.payload_bytes,
                                              " bytes; the limit is ", kRecordSizeMax));
  }
  if (draft.meta.token_ids.size() != draft.n_token) {
    return fail(Errc::invalid_argument,
                message(draft.meta.token_ids.size(), " token ids for ", draft.n_token, " tokens"));
  }
  return {};
}

Result<> check_complete(const ModelShape& shape, const RecordDraft& draft,
                        const std::set<std::pair<ChunkKind, std::uint32_t>>& seen) {
  const bool is_snapshot = draft.kind == RecordKind::snapshot;
  const ChunkKind needed = draft.kind == RecordKind::page   ? ChunkKind::segment
                           : draft.kind == RecordKind::tail ? ChunkKind::rows
                                                            : ChunkKind::recurrent_state;
  for (std::uint32_t layer = 0; layer < shape.layers.size(); ++layer) {
    const LayerSpec& spec = shape.layers[layer];
    bool is_needed = is_snapshot ? spec.kind == LayerKind::recurrent : spec.has_attention();
    // Rows that have left the window of a sliding layer are gone; nobody needs them.
    if (draft.kind == RecordKind::page && spec.kind == LayerKind::sliding_window) is_needed = false;
    if (is_needed && !seen.contains({needed, layer})) {
      return fail(Errc::incomplete, message("a ", name_of(draft.kind), " record without the ",
                                            name_of(needed), " of layer ", layer));
    }
  }
  if (is_snapshot && seen.empty()) {
    return fail(Errc::invalid_argument, "a snapshot record in a session without recurrent layers");
  }
  return {};
}

Result<> check_place(const Chunk& chunk, std::size_t index, std::uint64_t end,
                     std::uint64_t payload_bytes) {
  if (chunk.offset_bytes % kChunkAlignment == 0 && chunk.offset_bytes >= end &&
      chunk.offset_bytes <= payload_bytes &&
      chunk.size_bytes <= payload_bytes - chunk.offset_bytes) {
    return {};
  }
  return fail(Errc::invalid_argument,
              message("chunk ", index, ": ", chunk.size_bytes, " bytes at ", chunk.offset_bytes,
                      " of a payload of ", payload_bytes, "; the chunk before it ends at ", end,
                      " and offsets are multiples of ", kChunkAlignment));
}

/// Rows, and segments of nothing but raw blocks.
bool may_be_packed(const Chunk& chunk) {
  if (chunk.kind == ChunkKind::rows) return true;
  return chunk.kind == ChunkKind::segment &&
         std::all_of(chunk.formats.begin(), chunk.formats.end(),
                     [](BlockFormat format) { return format.is_raw(); });
}

Result<> check_size(const ModelShape& shape, const Chunk& chunk, std::uint32_t n_token,
                    std::uint64_t seal_bytes) {
  KVAULT_TRY(const std::uint64_t plain_bytes, chunk_size_bytes(shape, chunk, n_token));
  if (chunk.is_packed) {
    if (may_be_packed(chunk) && chunk.size_bytes > seal_bytes &&
        chunk.size_bytes < seal_bytes + plain_bytes) {
      return {};
    }
    return fail(Errc::shape_mismatch,
                message("the packed ", name_of(chunk.kind), " of layer ", chunk.layer, " has ",
                        chunk.size_bytes, " bytes of ", seal_bytes + plain_bytes,
                        "; what is packed is raw and has become less"));
  }
  const bool is_state = chunk.kind == ChunkKind::recurrent_state;
  const std::uint64_t size_bytes = seal_bytes + (is_state ? 1 : plain_bytes);
  if (is_state ? chunk.size_bytes >= size_bytes : chunk.size_bytes == size_bytes) return {};
  return fail(Errc::shape_mismatch,
              message("the ", name_of(chunk.kind), " of layer ", chunk.layer, " has ",
                      chunk.size_bytes, " bytes; the shape asks for ", size_bytes));
}

}  // namespace

Result<std::uint64_t> chunk_size_bytes(const ModelShape& shape, const Chunk& chunk,
                                       std::uint32_t n_token) {
  KVAULT_CHECK(check_kind_of_layer(shape, chunk));
  const LayerSpec& layer = shape.layers[chunk.layer];
  const std::uint64_t key_elements = std::uint64_t{layer.n_kv_head} * layer.key_head_dim;
  const std::uint64_t value_elements = std::uint64_t{layer.n_kv_head} * layer.value_head_dim;
  switch (chunk.kind) {
    case ChunkKind::segment:
      return segment_size_bytes(shape, chunk);
    case ChunkKind::rows:
      return n_token * (key_elements + value_elements) * size_bytes_of(shape.row_type);
    case ChunkKind::equaliser:
      return key_elements * 2;
    case ChunkKind::query_energy:
      return n_token * key_elements * 4;
    case ChunkKind::recurrent_state:
      return 0;
  }
  return fail(Errc::invalid_argument,
              message("chunk kind ", static_cast<unsigned>(chunk.kind), " is not known"));
}

Result<> check_draft(const ModelShape& shape, const RecordDraft& draft, std::uint64_t seal_bytes) {
  KVAULT_CHECK(check_range(draft));
  std::set<std::pair<ChunkKind, std::uint32_t>> seen;
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < draft.meta.chunks.size(); ++i) {
    const Chunk& chunk = draft.meta.chunks[i];
    KVAULT_CHECK(check_size(shape, chunk, draft.n_token, seal_bytes));
    if (!is_allowed(draft, chunk.kind) || !seen.insert({chunk.kind, chunk.layer}).second) {
      return fail(Errc::invalid_argument,
                  message("a ", name_of(draft.kind), " record from token ", draft.first_token,
                          " may not hold this (or another) ", name_of(chunk.kind), " of layer ",
                          chunk.layer));
    }
    KVAULT_CHECK(check_place(chunk, i, end, draft.payload_bytes));
    end = chunk.offset_bytes + chunk.size_bytes;
  }
  if (end != draft.payload_bytes) {
    return fail(Errc::invalid_argument, message("a payload of ", draft.payload_bytes,
                                                " bytes whose last chunk ends at ", end));
  }
  RecordHeader header;
  std::uint64_t meta_bytes = payload_meta_size_bytes(draft.meta);
  if (seal_bytes > 0) meta_bytes += sizeof(SessionId) + seal_bytes;
  place_payload(header, meta_bytes, draft.payload_bytes);
  if (meta_bytes > kRecordMetaSizeMax || header.length_bytes > kRecordSizeMax) {
    return fail(Errc::limit_exceeded, message("a record of ", header.length_bytes,
                                              " bytes; the limit is ", kRecordSizeMax));
  }
  return check_complete(shape, draft, seen);
}

}  // namespace kvault
