#pragma once

#include <optional>

#include "tests/torture/model/daemon.hpp"
#include "tests/torture/model/target.hpp"

namespace kvault::torture {

/// A daemon through the SDK's client. Every error of the connection stands until connect().
class ClientTarget final : public Target {
 public:
  explicit ClientTarget(const Daemon& daemon) : daemon_(&daemon) {}

  void set_daemon(const Daemon& daemon) { daemon_ = &daemon; }
  Result<> connect(std::uint32_t patience_ms = 10'000);

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
  Result<> reopen() override;  ///< a new connection: the daemon stays
  Result<std::vector<ServedSession>> served() override;
  Result<std::vector<std::string>> verify() override;

 private:
  Result<> open(const SessionTruth& session);

  const Daemon* daemon_;
  std::optional<Client> client_;
};

}  // namespace kvault::torture
