#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/result.hpp"
#include "core/format/record.hpp"
#include "core/format/record_check.hpp"
#include "daemon/pack.hpp"

namespace kvault {

/// Checks a payload as it arrives, in order: every chunk against its checksum, zeros between them.
class PayloadCheck {
 public:
  /// `chunks`: of a draft that check_draft() accepted; the same ones in every call.
  Result<> update(std::span<const Chunk> chunks, std::span<const std::byte> bytes);
  std::uint64_t received_bytes() const { return received_bytes_; }

 private:
  PayloadHash hash_;
  std::size_t index_ = 0;  ///< the chunk that is arriving, or comes next
  std::uint64_t received_bytes_ = 0;
};

/// A record between begin and commit: its room in a pack and what is still to be written.
struct PendingRecord {
  SessionId session;
  RecordDraft draft;
  RecordHeader header;  ///< sizes and what the draft says; the rest at commit
  std::vector<std::byte> meta;
  PackRoom room;
  PayloadCheck check;
  bool is_finished = false;
};

}  // namespace kvault
