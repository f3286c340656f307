#pragma once

#include <string>
#include <vector>

#include "daemon/store.hpp"
#include "tests/torture/model/truth.hpp"

namespace kvault::torture {

/// A new session as its maker was told of it.
struct Forked {
  SessionId id;
  std::uint64_t n_token = 0;
};

/// What a match found; without a name nothing.
struct Matched {
  std::string name{};
  std::uint64_t kept_n_token = 0;
  bool is_judged = true;  ///< false: it looked at sessions that the world does not know
};

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
  virtual Result<Forked> fork(const SessionTruth& source, std::uint64_t n_token,
                              const std::string& name) = 0;
  virtual Result<> update(const SessionTruth& session, const SessionChange& change) = 0;
  virtual Result<Matched> match(const SessionDescription& description,
                                const std::vector<std::uint32_t>& tokens) = 0;
  /// Housekeeping until nothing is left to do, where it can be asked for.
  virtual Result<> maintain() = 0;
  /// Lets the session's time be up, and has it removed for that.
  virtual Result<> expire(const SessionTruth& session) = 0;
  /// The session's time is up while somebody holds it; then it gets the time back that it had.
  virtual Result<> outlive(const SessionTruth& session) = 0;
  /// Of a session without damage: Errc::corrupt where it says otherwise.
  virtual Result<> repair(const SessionTruth& session) = 0;
  /// Ends in order and begins anew.
  virtual Result<> reopen() = 0;

  virtual Result<std::vector<ServedSession>> served() = 0;
  /// Sentences of damage that it finds when it reads everything.
  virtual Result<std::vector<std::string>> verify() = 0;
};

}  // namespace kvault::torture
