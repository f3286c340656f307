#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/format/attributes.hpp"
#include "core/format/description.hpp"
#include "core/format/record_check.hpp"
#include "core/format/session_key.hpp"
#include "sdk/src/payload_reader.hpp"

/// What the daemon tells a client, and what a client asks. Plain values.
namespace kvault::client {

struct SessionInfo {
  SessionId id;
  std::string name;
  std::uint64_t commit_number = 0;  ///< 0: created and never committed to
  std::uint64_t n_token = 0;
  std::uint64_t n_page = 0;
  std::uint64_t live_bytes = 0;
  std::uint64_t created_at_s = 0;  ///< seconds since 1970
  std::uint64_t committed_at_s = 0;
  std::uint64_t last_used_at_s = 0;
  SessionAttributes attributes{};
};

/// What update_session() changes; what is empty stays as it is.
struct SessionChange {
  std::optional<std::string> name{};
  std::optional<std::vector<std::string>> labels{};
  std::optional<bool> is_pinned{};
  std::optional<std::uint64_t> expires_at_s{};  ///< 0: never
};

/// Where a fork begins; sdk/schema/kvault_wire.fbs, ForkSessionOk.
struct Kept {
  std::uint64_t n_token = 0;
  bool exact = true;
};

struct Fork {
  SessionInfo info;
  Kept kept;
};

/// What fits into one frame beside the description.
inline constexpr std::size_t kMatchTokensMax = 180'000;

/// The stored session that begins most like a chat to come.
struct Match {
  std::optional<SessionInfo> session;  ///< empty: nothing is worth sharing
  std::uint64_t n_token = 0;           ///< equal tokens
  Kept kept;                           ///< where a fork at n_token would begin
};

/// A session as open_session(), create_session() and inspect() find it.
struct Session {
  SessionInfo info;
  SessionDescription description;
  std::uint32_t n_record = 0;
  std::optional<SessionKey> key{};  ///< by open_session() in an encrypted namespace
};

enum class OpenMode : std::uint8_t { read, write };

/// Where a record lies. Its checksums are to be verified before its bytes are used.
struct RecordPlace {
  RecordKind kind = RecordKind::page;
  std::filesystem::path pack_path;
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  std::uint64_t first_token = 0;
  std::uint32_t n_token = 0;   ///< rows past it do not exist
  std::uint64_t checksum = 0;  ///< the header checksum the record must have
};

/// All of a session at one commit. Records: pages, tails, snapshots, each by first_token.
struct Attachment {
  SessionInfo info;
  SessionDescription description;
  std::vector<RecordPlace> records;
  std::optional<SessionKey> key{};  ///< of sealed records
};

/// Random: names one thing that a client wants done once.
RequestKey new_request_key();

/// A record to send. `pieces`: the chunks' bytes in the order of draft.meta.chunks, cut anywhere;
/// what lies between chunks is sent as zeros. Borrowed until the call returns.
struct RecordUpload {
  RecordDraft draft;
  Pieces pieces;
};

/// The step from one state of a session to the next; sdk/schema/kvault_wire.fbs, Commit.
struct CommitRequest {
  std::uint64_t expected_commit_number = 0;
  std::uint64_t n_token = 0;
  std::uint64_t kept_n_token = 0;
  std::uint64_t kept_n_page = 0;
};

struct CommitInfo {
  std::uint64_t commit_number = 0;
  std::uint64_t n_token = 0;
  std::uint64_t n_page = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t raw_bytes = 0;
  std::uint64_t coded_bytes = 0;
  std::uint64_t shared_bytes = 0;
};

/// Called with (bytes sent, bytes to send); false cancels.
using Progress = std::function<bool(std::uint64_t, std::uint64_t)>;

/// A namespace as an onlooker sees it; "" is the shared one.
struct NamespaceUse {
  std::string name;
  std::uint64_t size_bytes = 0;
  std::uint32_t n_client = 0;
};

/// Of the client's namespace; disk_bytes and quota_bytes of all of them together.
struct Stats {
  std::uint64_t n_session = 0;
  std::uint64_t n_record = 0;
  std::uint64_t n_pending_record = 0;
  std::uint64_t n_pack = 0;
  std::uint64_t live_bytes = 0;
  std::uint64_t pack_bytes = 0;
  std::uint32_t n_connection = 0;
  std::uint32_t n_queued_task = 0;
  std::uint64_t disk_bytes = 0;
  std::uint64_t quota_bytes = 0;  ///< 0: none
  std::uint64_t uptime_s = 0;
  std::uint64_t n_commit = 0;  ///< this and the following: since the daemon's start
  std::uint64_t written_bytes = 0;
  std::uint64_t n_evicted = 0;
  std::uint64_t n_expired = 0;
  std::uint64_t n_pack_deleted = 0;
  std::uint64_t n_compaction = 0;
  std::uint64_t moved_bytes = 0;
  std::uint64_t n_damage = 0;
  std::vector<NamespaceUse> namespaces{};
};

struct VerifyReport {
  std::uint64_t n_session = 0;
  std::uint64_t n_record = 0;
  std::uint64_t bytes = 0;
  std::uint64_t n_damage = 0;
  std::vector<std::string> damage;  ///< at most the first 256 sentences of each session
};

struct Pong {
  std::uint64_t uptime_s = 0;
  std::uint32_t n_connection = 0;
};

}  // namespace kvault::client
