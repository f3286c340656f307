#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/result.hpp"
#include "core/format/record_check.hpp"

namespace kvault {

/// The pieces of a record's chunks: their bytes in the order of the chunks, cut anywhere.
using Pieces = std::span<const std::span<const std::byte>>;

/// Reads a record's payload front to back: the pieces where chunks lie, zeros between them.
/// Borrows the draft and the pieces.
class PayloadReader {
 public:
  /// Errc::invalid_argument where chunks overlap or leave the payload, or the pieces do not have
  /// the chunks' size in all.
  static Result<PayloadReader> create(const RecordDraft& draft, Pieces pieces);

  std::uint64_t left_bytes() const noexcept { return payload_bytes_ - position_; }
  std::uint64_t position() const noexcept { return position_; }
  /// pre: target.size() <= left_bytes()
  void read(std::span<std::byte> target);

 private:
  PayloadReader(const RecordDraft& draft, Pieces pieces)
      : chunks_(draft.meta.chunks), pieces_(pieces), payload_bytes_(draft.payload_bytes) {}
  std::size_t read_zeros(std::span<std::byte> target, std::uint64_t end);
  std::size_t read_piece(std::span<std::byte> target, std::uint64_t end);

  std::span<const Chunk> chunks_;  ///< those not read to their end
  Pieces pieces_;                  ///< likewise
  std::size_t piece_offset_ = 0;
  std::uint64_t position_ = 0;
  std::uint64_t payload_bytes_ = 0;
};

}  // namespace kvault
