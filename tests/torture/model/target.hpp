#pragma once

#include <string>
#include <vector>

#include "tests/torture/model/truth.hpp"

namespace kvault::torture {

/// What programs are played against: a store in this process, or a daemon through its client.
class Target {
 public:
  virtual ~Target() = default;
  Target() = default;
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  virtual Result<SessionId> create(const SessionDescription& description) = 0;
  virtual Result<> remove(const SessionTruth& session) = 0;
  virtual Result<> commit(const SessionTruth& session, const CommitPlan& plan) = 0;
  /// Stores records and leaves them uncommitted for good.
  virtual Result<> abandon(const SessionTruth& session, const std::vector<Upload>& uploads) = 0;
  /// Ends in order and begins anew.
  virtual Result<> reopen() = 0;

  virtual Result<std::vector<ServedSession>> served() = 0;
  /// Sentences of damage that it finds when it reads everything.
  virtual Result<std::vector<std::string>> verify() = 0;
};

}  // namespace kvault::torture
