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

  explicit StoreTarget(std::filesystem::path directory) : directory_(std::move(directory)) {}

  Result<> open();
  void close() { store_.reset(); }
  bool is_open() const { return store_ != nullptr; }
  Store& store() { return *store_; }

  Result<SessionId> create(const SessionDescription& description) override;
  Result<> remove(const SessionTruth& session) override;
  Result<> commit(const SessionTruth& session, const CommitPlan& plan) override;
  Result<> abandon(const SessionTruth& session, const std::vector<Upload>& uploads) override;
  Result<> reopen() override;
  Result<std::vector<ServedSession>> served() override;
  Result<std::vector<std::string>> verify() override;

  /// A whole record, in two pieces; pending until it is committed.
  Result<RecordHandle> send(const SessionId& session, const Upload& upload);

 private:
  Result<> ready();

  std::filesystem::path directory_;
  std::unique_ptr<Store> store_;
};

}  // namespace kvault::torture
