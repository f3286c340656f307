#pragma once

#include <cstdint>

#include "core/base/result.hpp"
#include "core/format/record.hpp"
#include "core/layout/layer.hpp"

namespace kvault {

/// What a page, tail or snapshot record is to hold, before it is written.
struct RecordDraft {
  RecordKind kind = RecordKind::page;
  std::uint64_t first_token = 0;
  std::uint32_t n_token = 0;
  PayloadMeta meta{};
  std::uint64_t payload_bytes = 0;
};

/// Bytes of a chunk, unpacked, by the shape of its layer; formats count for segments, n_token for
/// rows and query energy. Errc::invalid_argument for a layer that has no such chunk, with a
/// recurrent state (any size) being the exception: it answers 0.
Result<std::uint64_t> chunk_size_bytes(const ModelShape& shape, const Chunk& chunk,
                                       std::uint32_t n_token);

/// Whether a draft fits a session of this shape, to the last number:
///
///   page      n_token = 128, first_token = 128 * page; one segment for every full-attention layer,
///             at most one for every sliding window (rows that have left it are gone); in page 0
///             at most one equaliser for every full-attention layer with coded K
///   tail      n_token = 1..65536; rows for every attention layer; at most one query energy for
///             every full-attention layer with coded K, where first_token < 256, and at most one
///             equaliser for each, where first_token = 0
///   snapshot  n_token = 0; one recurrent state of 1 byte or more for every recurrent layer
///
/// Chunks ascend in offset (multiples of 256) without overlap and end at payload_bytes. A block is
/// raw (of the session's row type) or coded in its layer's scheme; sliding windows are raw.
/// Rows and raw segments may be packed, if they became less by it.
/// Checksums are not looked at. seal_bytes: by how much every chunk is larger than its layer's
/// shape says, and the meta than the draft's, because they are sealed. Errc::invalid_argument,
/// shape_mismatch, incomplete, limit_exceeded.
Result<> check_draft(const ModelShape& shape, const RecordDraft& draft,
                     std::uint64_t seal_bytes = 0);

}  // namespace kvault
