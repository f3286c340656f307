#pragma once

#include <map>
#include <memory>
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
/// the verbs of sessions and records, store_commit.cpp the commit.
class DiskStore final : public Store {
 public:
  struct Parts {
    StoreOptions options;
    FileLock lock;
    NamespaceKey key;
    PackSet packs;
    Catalog catalog;
    OpenReport report;
    std::uint64_t epoch = 0;
  };
  explicit DiskStore(Parts parts);

  const OpenReport& open_report() const override { return parts_.report; }

  Result<SessionInfo> create_session(const SessionDescription& description) override;
  Result<SessionInfo> find_session(const SessionId& id) override;
  Result<SessionInfo> find_session_by_name(std::string_view name) override;
  Result<std::vector<SessionInfo>> list_sessions(std::string_view after_name,
                                                 std::uint32_t limit) override;
  Result<> remove_session(const SessionId& id) override;

  Result<RecordHandle> begin_record(const SessionId& session, RecordDraft draft) override;
  Result<> write_payload(RecordHandle handle, std::uint64_t offset_bytes,
                         std::span<const std::byte> bytes) override;
  Result<> finish_record(RecordHandle handle) override;
  Result<> abort_record(RecordHandle handle) override;

  Result<CommitInfo> commit(const SessionId& session, const CommitRequest& request) override;

  Result<Attachment> attach(const SessionId& session) override;
  Result<StoreStats> stats() override;
  Result<VerifyReport> verify(const std::optional<SessionId>& session) override;

 private:
  using Pending = std::map<RecordHandle, PendingRecord>;

  PackSet& packs() { return parts_.packs; }
  Catalog& catalog() { return parts_.catalog; }
  Result<> before_catalog() const;
  Result<const SessionDescription*> description_of(const SessionId& id);
  Result<Pending::iterator> find_pending(RecordHandle handle);
  void drop_pending(Pending::iterator record);

  Result<std::vector<PendingRecord>> take_records(const SessionId& session,
                                                  const std::vector<RecordHandle>& handles);
  Result<CommitInfo> commit_records(const SessionId& session, const CommitRequest& request,
                                    std::vector<PendingRecord>& records);
  Result<> set_page_keys(const SessionState& before, std::vector<PendingRecord>& records);
  Result<> write_heads(std::vector<PendingRecord>& records);
  /// Writes a record without payload to the log and syncs it.
  Result<CommitPlace> write_commit(RecordHeader& header, std::span<const std::byte> meta,
                                   const std::vector<PendingRecord>& records);
  void verify_session(const SessionState& state, VerifyReport& report);
  /// Of the packs that hold something live.
  Result<> verify_pack_headers(VerifyReport& report);

  Parts parts_;
  std::uint64_t next_transaction_;
  std::uint64_t next_handle_ = 1;
  Pending pending_;
  std::map<SessionId, SessionDescription> descriptions_;  ///< read once; they never change
};

}  // namespace kvault
