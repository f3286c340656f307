#include "daemon/pending_record.hpp"

#include <algorithm>

#include "core/base/assert.hpp"

namespace kvault {

Result<> PayloadCheck::update(std::span<const Chunk> chunks, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    KVAULT_ASSERT(index_ < chunks.size());
    const Chunk& chunk = chunks[index_];
    const bool is_gap = received_bytes_ < chunk.offset_bytes;
    const std::uint64_t end = chunk.offset_bytes + (is_gap ? 0 : chunk.size_bytes);
    const auto size =
        static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), end - received_bytes_));
    const std::span<const std::byte> part = bytes.first(size);
    if (is_gap) {
      if (!std::all_of(part.begin(), part.end(), [](std::byte b) { return b == std::byte{0}; })) {
        return fail(Errc::corrupt, message("the payload has bytes other than zero between chunks, ",
                                           "before byte ", chunk.offset_bytes));
      }
    } else {
      hash_.update(part);
    }
    bytes = bytes.subspan(size);
    received_bytes_ += size;
    if (is_gap || received_bytes_ < end) continue;
    const std::uint64_t checksum = hash_.digest();
    if (checksum != chunk.checksum) {
      return fail(Errc::corrupt, message("the ", name_of(chunk.kind), " of layer ", chunk.layer,
                                         " was announced with the checksum ", chunk.checksum,
                                         ", its bytes have ", checksum));
    }
    hash_.reset();
    ++index_;
  }
  return {};
}

}  // namespace kvault
