#pragma once

#include <filesystem>
#include <memory>

#include "daemon/store.hpp"
#include "tests/torture/model/target.hpp"

namespace kvault::torture {

/// A Store in this process, with packs so small that they roll over.
class StoreTarget final : public Target {
 public:
  static constexpr std::uint64_t kPackSizeMax = 40 * 1024;

  explicit StoreTarget(std::filesystem::path directory, bool is_encrypted = false)
      : directory_(std::move(directory)), is_encrypted_(is_encrypted) {}

  /// From the next opening on: a quota of which other namespaces take so much.
  void set_quota(std::uint64_t quota_bytes, std::uint64_t other_bytes) {
    quota_bytes_ = quota_bytes;
    other_bytes_ = other_bytes;
  }
  Result<> open();
  Result<> reopen_without_catalog();
  void close() { store_.reset(); }
  bool is_open() const { return store_ != nullptr; }
  Store& store() { return *store_; }
  std::uint64_t moved_bytes() const { return moved_bytes_; }  ///< by maintain(), so far

  Result<SessionId> create(const SessionDescription& description) override;
  Result<> remove(const SessionTruth& session) override;
  Result<> commit(const SessionTruth& session, const CommitPlan& plan) override;
  Result<> abandon(const SessionTruth& session, const std::vector<Upload>& uploads) override;
  Result<Forked> fork(const SessionTruth& source, std::uint64_t n_token,
                      const std::string& name) override;
  Result<> update(const SessionTruth& session, const SessionChange& change) override;
  Result<Matched> match(const SessionDescription& description,
                        const std::vector<std::uint32_t>& tokens) override;
  Result<> maintain() override;
  Result<> expire(const SessionTruth& session) override;
  Result<> outlive(const SessionTruth& session) override;
  Result<> repair(const SessionTruth& session) override;
  Result<> reopen() override;
  Result<std::vector<ServedSession>> served() override;
  Result<std::vector<std::string>> verify() override;

  /// A whole record, in two pieces; pending until it is committed.
  Result<RecordHandle> send(const SessionId& session, const Upload& upload);

 private:
  Result<> ready();

  std::filesystem::path directory_;
  bool is_encrypted_;
  std::uint64_t quota_bytes_ = 0;
  std::uint64_t other_bytes_ = 0;
  std::uint64_t moved_bytes_ = 0;
  std::unique_ptr<Store> store_;
};

}  // namespace kvault::torture
