#include "sdk/src/payload_reader.hpp"

#include <algorithm>

#include "core/base/assert.hpp"

namespace kvault {

Result<PayloadReader> PayloadReader::create(const RecordDraft& draft, Pieces pieces) {
  std::uint64_t end = 0;
  std::uint64_t chunk_bytes = 0;
  for (const Chunk& chunk : draft.meta.chunks) {
    const bool is_inside = chunk.offset_bytes <= draft.payload_bytes &&
                           chunk.size_bytes <= draft.payload_bytes - chunk.offset_bytes;
    if (chunk.offset_bytes < end || !is_inside) {
      return fail(Errc::invalid_argument,
                  message("a chunk of ", chunk.size_bytes, " bytes at ", chunk.offset_bytes,
                          " does not fit behind ", end, " in a payload of ", draft.payload_bytes));
    }
    end = chunk.offset_bytes + chunk.size_bytes;
    chunk_bytes += chunk.size_bytes;
  }
  std::uint64_t piece_bytes = 0;
  for (const auto& piece : pieces) piece_bytes += piece.size();
  if (piece_bytes != chunk_bytes) {
    return fail(Errc::invalid_argument,
                message("chunks of ", chunk_bytes, " bytes, pieces of ", piece_bytes));
  }
  return PayloadReader(draft, pieces);
}

void PayloadReader::read(std::span<std::byte> target) {
  KVAULT_ASSERT(target.size() <= left_bytes());
  while (!target.empty()) {
    while (!chunks_.empty() &&
           chunks_.front().offset_bytes + chunks_.front().size_bytes <= position_) {
      chunks_ = chunks_.subspan(1);
    }
    std::size_t size = 0;
    if (chunks_.empty()) {
      size = read_zeros(target, payload_bytes_);
    } else if (position_ < chunks_.front().offset_bytes) {
      size = read_zeros(target, chunks_.front().offset_bytes);
    } else {
      size = read_piece(target, chunks_.front().offset_bytes + chunks_.front().size_bytes);
    }
    position_ += size;
    target = target.subspan(size);
  }
}

std::size_t PayloadReader::read_zeros(std::span<std::byte> target, std::uint64_t end) {
  const std::size_t size = std::min<std::uint64_t>(target.size(), end - position_);
  std::fill_n(target.begin(), size, std::byte{});
  return size;
}

std::size_t PayloadReader::read_piece(std::span<std::byte> target, std::uint64_t end) {
  while (!pieces_.empty() && piece_offset_ == pieces_.front().size()) {
    pieces_ = pieces_.subspan(1);
    piece_offset_ = 0;
  }
  KVAULT_ASSERT(!pieces_.empty());
  const std::span<const std::byte> piece = pieces_.front().subspan(piece_offset_);
  const std::size_t room = std::min<std::uint64_t>(target.size(), end - position_);
  const std::size_t size = std::min(room, piece.size());
  std::copy_n(piece.begin(), size, target.begin());
  piece_offset_ += size;
  return size;
}

}  // namespace kvault
