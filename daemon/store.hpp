#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "core/format/description.hpp"
#include "core/format/record.hpp"
#include "core/format/record_check.hpp"
#include "core/format/session_key.hpp"
#include "daemon/kept_position.hpp"

namespace kvault {

/// Moments of a write at which a test may look at the disk or make the next step fail.
enum class StoreStep : std::uint8_t {
  create_pack,
  write_payload,
  write_head,
  sync_pack,
  write_commit,
  sync_commit,
  update_catalog,
};

struct StoreOptions {
  std::filesystem::path directory;
  /// A pack that has reached this size gets no further record. A larger record has its own pack.
  std::uint64_t pack_size_bytes_max = std::uint64_t{256} << 20U;
  /// What all files of the store may take together; 0: no limit. With a quota packs are at most a
  /// sixteenth of it, and room for two packs stays free for compaction.
  std::uint64_t quota_bytes = 0;
  /// Records begun and neither committed nor aborted, over all sessions.
  std::uint32_t n_pending_record_max = 65536;
  /// Makes the store an encrypted one: what it keeps is sealed under keys that are sealed under
  /// this one (docs/format.md, section 7). Always the same, or never any, for a directory:
  /// Errc::permission, unsupported.
  std::optional<SecretKey> secret{};
  /// What else counts towards the quota, asked on the store's thread; null: nothing.
  std::function<std::uint64_t()> other_bytes{};
  /// Called before each step with the file it is about to change or sync; an error it returns is
  /// taken for the step's own. Tests only.
  std::function<Result<>(StoreStep, const std::filesystem::path&)> on_step;
};

/// What open() found and did; the daemon logs it.
struct OpenReport {
  bool is_catalog_rebuilt = false;
  std::string rebuild_reason;
  /// Where a damaged catalog went; empty where there was none.
  std::filesystem::path quarantined_catalog;
  std::uint64_t n_session = 0;
  std::uint64_t n_pack_deleted = 0;
  /// Sessions that a rebuild could not bring back, or only in an older state, in words.
  std::vector<std::string> damage;
};

struct SessionInfo {
  SessionId id;
  std::string name;
  std::uint64_t commit_number = 0;  ///< 0 for a session that was only created
  std::uint64_t n_token = 0;
  std::uint64_t n_page = 0;        ///< sealed pages
  std::uint64_t live_bytes = 0;    ///< records of the newest commit, itself included
  std::uint64_t created_at_s = 0;  ///< seconds since 1970
  std::uint64_t committed_at_s = 0;
  std::uint64_t last_used_at_s = 0;
  std::uint64_t n_record = 0;
  SessionAttributes attributes{};
};

/// A session without its records.
struct DescribedSession {
  SessionInfo info;
  SessionDescription description;
  /// For who reads or writes the session; given by nothing but key_of().
  std::optional<SessionKey> key{};
};

/// What update_session() changes; what is empty stays as it is.
struct SessionChange {
  std::optional<std::string> name{};
  std::optional<std::vector<std::string>> labels{};
  std::optional<bool> is_pinned{};
  std::optional<std::uint64_t> expires_at_s{};  ///< 0: never
};

/// A fork, and where it begins.
struct ForkInfo {
  SessionInfo info;
  KeptPosition kept;
};

/// The stored session whose tokens begin most like those asked for.
struct MatchInfo {
  std::optional<SessionInfo> session;  ///< empty where nothing is worth sharing
  std::uint64_t n_token = 0;           ///< equal tokens
  KeptPosition kept;                   ///< where fork_session(n_token) would land
};

/// A record as a client needs it: map or pread the pack, parse_head() at the offset.
struct RecordLocation {
  RecordKind kind = RecordKind::page;
  std::filesystem::path pack_path;  ///< absolute
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  std::uint64_t first_token = 0;
  std::uint32_t n_token = 0;   ///< rows past it do not exist (rollback)
  std::uint64_t checksum = 0;  ///< the header checksum the record must have
};

/// Everything needed to read a session. Records in order: pages, tails, snapshots, each by
/// first_token. The files stay as they are until the store is opened anew, and longer for those who
/// hold them open.
struct Attachment {
  SessionInfo info;
  SessionDescription description;
  std::vector<RecordLocation> records;
};

/// A record between begin_record() and commit() or abort_record().
struct RecordHandle {
  std::uint64_t raw = 0;
  friend bool operator==(const RecordHandle&, const RecordHandle&) = default;
  friend bool operator<(const RecordHandle& a, const RecordHandle& b) { return a.raw < b.raw; }
};

/// The step from one state of a session to the next. Kept: tokens [0, kept_n_token) and pages
/// [0, kept_n_page) of the previous state; then the records are added; then there are n_token.
///   append    kept_n_token, kept_n_page = as they are; records: new tails, new pages
///   rollback  n_token = kept_n_token < as it is; kept_n_page <= kept_n_token / 128; no records
struct CommitRequest {
  std::uint64_t expected_commit_number = 0;
  std::uint64_t n_token = 0;
  std::uint64_t kept_n_token = 0;
  std::uint64_t kept_n_page = 0;
  std::vector<RecordHandle> records{};  ///< finished, of this session, in any order
  RequestKey request_key{};  ///< not zero: a commit that was made by it is not made twice
};

struct CommitInfo {
  std::uint64_t commit_number = 0;
  std::uint64_t n_token = 0;
  std::uint64_t n_page = 0;
  std::uint64_t bytes_written = 0;  ///< records and the commit record
  std::uint64_t raw_bytes = 0;      ///< of these, payload of raw rows and states
  std::uint64_t coded_bytes = 0;    ///< payload of sealed pages
  std::uint64_t shared_bytes = 0;   ///< records that were here already, byte for byte
};

/// What a store has done since it was opened.
struct StoreCounters {
  std::uint64_t n_commit = 0;
  std::uint64_t written_bytes = 0;  ///< to packs
  std::uint64_t n_evicted = 0;      ///< sessions removed to keep the quota
  std::uint64_t n_expired = 0;
  std::uint64_t n_pack_deleted = 0;
  std::uint64_t n_compaction = 0;  ///< packs emptied by moving what lives in them
  std::uint64_t moved_bytes = 0;   ///< by compaction
  std::uint64_t n_damage = 0;      ///< damaged records that verify() and compaction met
};

struct StoreStats {
  std::uint64_t n_session = 0;
  std::uint64_t n_record = 0;  ///< live ones, commit records not counted
  std::uint64_t n_pending_record = 0;
  std::uint64_t n_pack = 0;
  std::uint64_t live_bytes = 0;  ///< records that newest commits name, and these commits
  std::uint64_t pack_bytes = 0;  ///< of all pack files
  std::uint64_t disk_bytes = 0;  ///< packs, catalog and everything else in the directory
  std::uint64_t quota_bytes = 0;
  /// Since the store was opened.
  StoreCounters counters;
};

struct VerifyReport {
  std::uint64_t n_session = 0;
  std::uint64_t n_record = 0;
  std::uint64_t bytes = 0;
  std::vector<std::string> damage;  ///< one sentence per damaged record; empty: all is well
  /// The first error of reading: what lies there is unknown, and counted as damage above.
  std::optional<Error> unreadable;
  /// The first token of what is damaged; empty: nothing, or nothing but commit records.
  std::optional<std::uint64_t> first_damaged_token;
};

/// How far verify_part() has come with a session.
struct VerifyCursor {
  bool is_begun = false;
  RecordKind kind = RecordKind::page;  ///< of the last record that was read
  std::uint64_t first_token = 0;
};

/// What maintain() did.
struct MaintainReport {
  std::vector<SessionId> removed;  ///< expired or evicted
  std::uint64_t n_pack_deleted = 0;
  std::uint64_t moved_bytes = 0;
  std::vector<std::string> damage;  ///< met while moving records; these packs stay as they are
};

/// Sessions in packs under one directory, with a catalog that is a cache of the packs
/// (docs/format.md, section 5). One process per directory (Errc::busy), one thread per Store; every
/// verb blocks until its work is done, and no reference into a Store leaves it.
///
/// Promise: what commit(), create_session() and remove_session() acknowledged survives a crash at
/// any instant; what they did not acknowledge leaves the previous state. After a failed write or
/// sync nothing is acknowledged and the pack is never appended to again; later calls use new packs.
///
/// A handle belongs to the session it was begun for. commit() consumes the handles of its request,
/// whether it succeeds or not; write_payload() and finish_record() drop the record when they fail.
/// A dropped or consumed handle answers Errc::not_found.
class Store {
 public:
  static Result<std::unique_ptr<Store>> open(StoreOptions options);
  virtual ~Store() = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  virtual const OpenReport& open_report() const = 0;

  /// Errc::already_exists for a name in use. With a request key that is not zero, here and below: a
  /// session that was made by this very request is the answer to it.
  virtual Result<SessionInfo> create_session(const SessionDescription& description,
                                             const RequestKey& request_key = {}) = 0;
  virtual Result<SessionInfo> find_session(const SessionId& id) = 0;
  virtual Result<SessionInfo> find_session_by_name(std::string_view name) = 0;
  /// What was just found, with its description.
  virtual Result<DescribedSession> describe(SessionInfo info) = 0;
  /// At most `limit` sessions behind `after_name`, "" begins: by name, or in an encrypted store in
  /// an order of its own.
  virtual Result<std::vector<SessionInfo>> list_sessions(std::string_view after_name,
                                                         std::uint32_t limit) = 0;
  /// Its pending records are aborted. Bytes that no other session shares are freed by maintain().
  virtual Result<> remove_session(const SessionId& id) = 0;
  /// The same, and returns when its key is destroyed: nobody can read its bytes again, wherever a
  /// copy of them lies. Errc::unsupported in a store that is not encrypted; busy while a fork of
  /// it, or what it is a fork of, shares the key.
  virtual Result<> destroy_session(const SessionId& id) = 0;
  /// What seals the session; empty in a store that is not encrypted.
  virtual Result<std::optional<SessionKey>> key_of(const SessionId& id) = 0;
  /// Name, labels, pin, expiry: a new commit record of the same state. Errc::already_exists.
  virtual Result<SessionInfo> update_session(const SessionId& id, const SessionChange& change) = 0;

  /// A new session that begins with the first n_token tokens of another, or fewer: kept_position()
  /// decides. Shares the records; nothing is copied. Errc::out_of_range, already_exists.
  virtual Result<ForkInfo> fork_session(const SessionId& source, std::uint64_t n_token,
                                        std::string name, const RequestKey& request_key = {}) = 0;
  /// The session of the same identity and shape that shares the longest usable prefix with
  /// `token_ids`: whole pages, and beyond them the tail of a session that ends there.
  virtual Result<MatchInfo> match(const SessionDescription& description,
                                  std::span<const std::uint32_t> token_ids) = 0;

  /// Somebody uses the session: it is not evicted, does not expire, and counts as used now.
  /// Errc::not_found. Every hold() is answered by one release().
  virtual Result<> hold(const SessionId& id) = 0;
  virtual void release(const SessionId& id) = 0;

  /// A step of housekeeping, now and then: removes what has expired, keeps the quota, deletes packs
  /// without live records that no reader has locked, and empties the pack that is dead for the
  /// greatest part by moving the rest.
  virtual Result<MaintainReport> maintain() = 0;

  /// Validates the draft against the session's shape and reserves room. Errc::limit_exceeded,
  /// invalid_argument, shape_mismatch, incomplete; disk_full (of the quota too, where what is in
  /// use or pinned leaves no room), io, permission.
  virtual Result<RecordHandle> begin_record(const SessionId& session, RecordDraft draft) = 0;
  /// Sequential: offset_bytes is where the last call ended. Errc::out_of_range, and the record is
  /// dropped.
  virtual Result<> write_payload(RecordHandle handle, std::uint64_t offset_bytes,
                                 std::span<const std::byte> bytes) = 0;
  /// All payload bytes are here and every chunk has its checksum; else Errc::incomplete or corrupt,
  /// and the record is dropped.
  virtual Result<> finish_record(RecordHandle handle) = 0;
  virtual Result<> abort_record(RecordHandle handle) = 0;

  /// Errc::conflict: another commit came first. Errc::incomplete: the pages, rows or snapshots that
  /// the request leaves do not make up n_token tokens, with the first one missing.
  virtual Result<CommitInfo> commit(const SessionId& session, const CommitRequest& request) = 0;

  virtual Result<Attachment> attach(const SessionId& session) = 0;
  virtual Result<StoreStats> stats() = 0;
  /// Of all files of this store, StoreOptions::other_bytes not counted.
  virtual std::uint64_t own_bytes() const = 0;
  /// Reads every byte of one session, or of all. Damage is a result, not an error.
  virtual Result<VerifyReport> verify(const std::optional<SessionId>& session) = 0;
  /// A part of verify(), so that others get their turn: goes on behind `cursor`, reads at least one
  /// record and stops once bytes_max are read. True: that was all.
  virtual Result<bool> verify_part(const SessionId& session, VerifyCursor& cursor,
                                   std::uint64_t bytes_max, VerifyReport& report) = 0;
  /// verify(), then takes a damaged session back to the newest position before the damage, as a
  /// commit of its own. Errc::busy while somebody holds the session. Bytes that the system does not
  /// let us read are no damage to cut away: its error (Errc::io, ...), and nothing changes.
  virtual Result<VerifyReport> repair(const SessionId& session) = 0;

 protected:
  Store() = default;
};

}  // namespace kvault
