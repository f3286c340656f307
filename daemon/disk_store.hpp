#pragma once

#include <map>
#include <memory>
#include <set>
#include <span>
#include <string_view>
#include <vector>

#include "core/os/lock.hpp"
#include "daemon/catalog.hpp"
#include "daemon/pack.hpp"
#include "daemon/page_key.hpp"
#include "daemon/pending_record.hpp"
#include "daemon/store.hpp"

namespace kvault {

inline constexpr const char* kCatalogFile = "catalog.sqlite";

/// The Store: packs, catalog and the records in between. store_open.cpp makes it, store.cpp holds
/// the verbs of sessions, store_records.cpp those of records, store_commit.cpp the commit,
/// store_fork.cpp forks and matches, store_verify.cpp verify and repair, store_maintain.cpp quota
/// and expiry, store_compact.cpp what moves records from pack to pack.
class DiskStore final : public Store {
 public:
  struct Parts {
    StoreOptions options;
    FileLock lock;
    NamespaceKey key;
    std::shared_ptr<SessionKeys> keys;  ///< null where the store is not encrypted
    PackSet packs;
    Catalog catalog;
    OpenReport report;
    std::uint64_t epoch = 0;
  };
  explicit DiskStore(Parts parts);
  ~DiskStore() override;
  /// What a removal that was cut short left to do. An error is for the next one to meet.
  void finish_removals() { static_cast<void>(destroy_doomed_keys().has_value()); }

  const OpenReport& open_report() const override { return parts_.report; }

  Result<SessionInfo> create_session(const SessionDescription& description,
                                     const RequestKey& request_key) override;
  Result<SessionInfo> find_session(const SessionId& id) override;
  Result<SessionInfo> find_session_by_name(std::string_view name) override;
  Result<DescribedSession> describe(SessionInfo info) override;
  Result<std::vector<SessionInfo>> list_sessions(std::string_view after_name,
                                                 std::uint32_t limit) override;
  Result<> remove_session(const SessionId& id) override;
  Result<> destroy_session(const SessionId& id) override;
  Result<std::optional<SessionKey>> key_of(const SessionId& id) override;
  Result<SessionInfo> update_session(const SessionId& id, const SessionChange& change) override;
  Result<ForkInfo> fork_session(const SessionId& source, std::uint64_t n_token, std::string name,
                                const RequestKey& request_key) override;
  Result<MatchInfo> match(const SessionDescription& description,
                          std::span<const std::uint32_t> token_ids) override;
  Result<> hold(const SessionId& id) override;
  void release(const SessionId& id) override;

  Result<RecordHandle> begin_record(const SessionId& session, RecordDraft draft) override;
  Result<> write_payload(RecordHandle handle, std::uint64_t offset_bytes,
                         std::span<const std::byte> bytes) override;
  Result<> finish_record(RecordHandle handle) override;
  Result<> abort_record(RecordHandle handle) override;

  Result<CommitInfo> commit(const SessionId& session, const CommitRequest& request) override;

  Result<Attachment> attach(const SessionId& session) override;
  Result<StoreStats> stats() override;
  std::uint64_t own_bytes() const override;
  Result<VerifyReport> verify(const std::optional<SessionId>& session) override;
  Result<bool> verify_part(const SessionId& session, VerifyCursor& cursor, std::uint64_t bytes_max,
                           VerifyReport& report) override;
  Result<VerifyReport> repair(const SessionId& session) override;
  Result<MaintainReport> maintain() override;

 private:
  using Pending = std::map<RecordHandle, PendingRecord>;

  /// A record without payload on its way into the log: commits and tombstones.
  struct LogEntry {
    RecordHeader header;
    std::vector<std::byte> meta{};
    CommitPlace place{};  ///< set by write_log()
  };

  PackSet& packs() { return parts_.packs; }
  Catalog& catalog() { return parts_.catalog; }
  Result<> before_catalog() const;
  Result<> require_name_is_free(std::string_view name);
  /// The session of this name, if a request with this key made it; Errc::already_exists for another
  /// one.
  Result<std::optional<SessionInfo>> made_before(std::string_view name,
                                                 const RequestKey& request_key);
  Result<const SessionDescription*> description_of(const SessionId& id);
  Result<std::optional<SessionKey>> key_of_family(const SessionId& family) const;
  /// Those of families whose last session was removed.
  Result<> destroy_doomed_keys();
  Result<PrefixKey> root_prefix_of(const SessionDescription& description) const;
  Result<Pending::iterator> find_pending(RecordHandle handle);
  void drop_pending(Pending::iterator record);
  SessionInfo info_of(const SessionRow& row) const;

  Result<std::vector<PendingRecord>> take_records(const SessionId& session,
                                                  const std::vector<RecordHandle>& handles);
  Result<CommitInfo> commit_records(const SessionId& session, const CommitRequest& request,
                                    std::vector<PendingRecord>& records);
  Result<> set_page_keys(const SessionState& before, std::vector<PendingRecord>& records);
  void set_page_digests(std::vector<PendingRecord>& records, SessionState& after);
  Result<std::uint64_t> share_known_pages(SessionState& after);
  Result<> write_heads(std::vector<PendingRecord>& records);
  /// Commit records of these states; sets their places. pre: place.transaction is a new one.
  /// What they name in `touched` is synced before they are written, but for what shares their sync.
  Result<> write_commits(std::span<SessionState> states, std::set<PackName> touched);
  Result<> write_log(std::span<LogEntry> entries, std::set<PackName> touched);

  Result<MatchInfo> match_with(const SessionId& id, std::span<const std::uint32_t> token_ids,
                               std::uint64_t n_page);
  Result<PayloadMeta> payload_meta_of(const LiveRecord& live);
  ForkInfo fork_as_made(const SessionInfo& fork, std::uint64_t n_token);
  Result<KeptPosition> kept_position_of(const SessionState& state, std::uint64_t n_token);

  Result<KeptPosition> kept_before(const SessionState& state, std::uint64_t limit);
  void note_damage(const SessionState& state, std::string_view what, const Error& error,
                   VerifyReport& report);
  void verify_commit(const SessionState& state, VerifyReport& report);
  /// The records behind the cursor, until bytes_max are read; true: that was all.
  bool verify_records(const SessionState& state, VerifyCursor& cursor, std::uint64_t bytes_max,
                      VerifyReport& report);
  /// Of the packs that hold something live.
  Result<> verify_pack_headers(VerifyReport& report);

  Result<> expire(MaintainReport& report);
  Result<> sweep(MaintainReport& report);
  Result<> make_room(std::uint64_t length_bytes, MaintainReport& report);
  Result<std::uint64_t> dead_bytes_in_use();
  Result<bool> free_some(std::uint64_t lacking_bytes, std::uint64_t& n_move_left,
                         MaintainReport& report);
  bool is_evictable(const SessionRow& row) const;
  Result<std::uint64_t> evictable_bytes();
  Result<bool> evict_one(MaintainReport& report);
  Result<> save_uses();
  std::uint64_t disk_bytes() const;  ///< what counts towards the quota
  std::uint64_t room_bytes() const;

  struct DeadPack {
    PackName name;
    std::uint64_t dead_bytes = 0;
    std::uint64_t size_bytes = 0;
  };
  Result<std::vector<DeadPack>> dead_packs();
  Result<bool> can_empty(PackName pack, std::uint64_t live_bytes, const HeldPacks& held);
  Result<std::uint64_t> dead_bytes();
  /// Empties the pack with the most dead bytes, if at least this share of it is dead; false where
  /// there is none.
  Result<bool> compact_one(double dead_share_min, std::uint64_t move_bytes_max,
                           MaintainReport& report);
  /// One emptying of a pack, under way.
  struct Move {
    PackName pack;
    std::uint64_t bytes_max = 0;
    std::uint64_t moved_bytes = 0;
    std::map<RecordPlace, LiveRecord> moved{};  ///< from where, to what
    std::vector<PackRoom> rooms{};
  };
  Result<bool> move_once(Move& move, LiveRecord& live, MaintainReport& report);
  Result<std::vector<SessionState>> move_all(Move& move, MaintainReport& report);
  Result<> compact(PackName pack, std::uint64_t move_bytes_max, MaintainReport& report);
  Result<LiveRecord> move_record(const LiveRecord& live, std::vector<std::byte> bytes,
                                 std::vector<PackRoom>& rooms);

  Parts parts_;
  std::uint64_t next_transaction_;
  std::uint64_t next_handle_ = 1;
  Pending pending_;
  std::map<SessionId, SessionDescription> descriptions_;  ///< read once; names may change
  std::map<SessionId, std::uint32_t> holds_;
  std::map<SessionId, std::uint64_t> used_at_s_;  ///< not yet in the catalog
  std::set<PackName> damaged_packs_;              ///< compaction could not read a record there
  StoreCounters counters_;
};

}  // namespace kvault
