#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "core/format/attributes.hpp"
#include "core/format/description.hpp"
#include "core/format/record.hpp"
#include "core/format/session_key.hpp"

namespace kvault::torture {

/// Where a record lies, whoever said so.
struct ServedRecord {
  RecordKind kind = RecordKind::page;
  std::filesystem::path pack_path;
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  std::uint64_t first_token = 0;
  std::uint32_t n_token = 0;
  std::uint64_t checksum = 0;
};

/// A session as a store or a daemon hands it out.
struct ServedSession {
  SessionId id;
  SessionDescription description;
  std::uint64_t commit_number = 0;
  std::uint64_t n_token = 0;
  std::uint64_t n_page = 0;
  SessionAttributes attributes{};
  std::vector<ServedRecord> records{};
  std::optional<SessionKey> key{};  ///< of sealed records
};

/// The bytes behind a served record after every check a reader is told to make.
struct ReadRecord {
  RecordHeader header;
  PayloadMeta meta;
  std::uint64_t payload_checksum = 0;  ///< of what was saved: of a sealed record, as unsealed
};

/// Errors are what a careful reader would have noticed before using a byte.
Result<ReadRecord> read_served(const ServedRecord& record, const std::optional<SessionKey>& key);

}  // namespace kvault::torture
