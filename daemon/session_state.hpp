#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>

#include "core/format/pack_header.hpp"
#include "core/format/record.hpp"
#include "daemon/page_digest.hpp"

namespace kvault {

/// Where a commit record lies, and which one it is.
struct CommitPlace {
  std::uint32_t pack_number = 0;
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  std::uint64_t transaction = 0;
  std::uint64_t checksum = 0;
  friend bool operator==(const CommitPlace&, const CommitPlace&) = default;
};

/// Where a record lies: pack and offset. Several sessions may name the same place.
struct RecordPlace {
  PackName pack;
  std::uint64_t offset_bytes = 0;
  friend bool operator==(const RecordPlace&, const RecordPlace&) = default;
  friend bool operator<(const RecordPlace& a, const RecordPlace& b) {
    return std::tie(a.pack, a.offset_bytes) < std::tie(b.pack, b.offset_bytes);
  }
};
inline RecordPlace place_of(const LiveRecord& live) {
  return {{live.pack_kind, live.pack_number}, live.offset_bytes};
}

/// What a session's newest commit record says, where it lies, and what was worked out from the
/// pages it names.
struct SessionState {
  SessionId id{};
  SessionId
      family{};  ///< whose key seals it: the session it began with; zero where it is in the clear
  std::uint64_t commit_number = 0;
  CommitPlace place{};
  CommitMeta meta{};
  PrefixKey root_prefix{};
  std::map<std::uint64_t, PageDigest> page_digests{};  ///< by first token
};

}  // namespace kvault
