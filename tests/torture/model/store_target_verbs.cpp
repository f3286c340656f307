#include "tests/torture/model/store_target.hpp"

/// The verbs that change a session's place or name and not what it holds.
namespace kvault::torture {
namespace {

constexpr std::uint64_t kLongAgo = 1000;  // seconds since 1970
constexpr int kStepsMax = 8;

}  // namespace

Result<Forked> StoreTarget::fork(const SessionTruth& source, std::uint64_t n_token,
                                 const std::string& name) {
  KVAULT_CHECK(ready());
  KVAULT_TRY(const ForkInfo fork, store_->fork_session(*source.id, n_token, name));
  return Forked{fork.info.id, fork.kept.n_token};
}

Result<> StoreTarget::update(const SessionTruth& session, const SessionChange& change) {
  KVAULT_CHECK(ready());
  KVAULT_CHECK(store_->update_session(*session.id, change));
  return {};
}

Result<Matched> StoreTarget::match(const SessionDescription& description,
                                   const std::vector<std::uint32_t>& tokens) {
  KVAULT_CHECK(ready());
  KVAULT_TRY(const MatchInfo match, store_->match(description, tokens));
  if (!match.session) return Matched{};
  return Matched{match.session->name, match.kept.n_token};
}

Result<> StoreTarget::maintain() {
  KVAULT_CHECK(ready());
  for (int i = 0; i < kStepsMax; ++i) {
    KVAULT_TRY(const MaintainReport report, store_->maintain());
    if (!report.damage.empty()) return fail(Errc::corrupt, report.damage.front());
    moved_bytes_ += report.moved_bytes;
    if (report.moved_bytes == 0 && report.n_pack_deleted == 0) break;
  }
  return {};
}

Result<> StoreTarget::expire(const SessionTruth& session) {
  KVAULT_CHECK(update(session, {.expires_at_s = kLongAgo}));
  KVAULT_TRY(const MaintainReport report, store_->maintain());
  if (!store_->find_session(*session.id)) return {};
  return fail(Errc::internal, "a session whose time is up is still there");
}

Result<> StoreTarget::outlive(const SessionTruth& session) {
  KVAULT_CHECK(ready());
  KVAULT_CHECK(store_->hold(*session.id));
  const auto attempt = [&]() -> Result<> {
    KVAULT_CHECK(update(session, {.expires_at_s = kLongAgo}));
    KVAULT_CHECK(maintain());
    if (!store_->find_session(*session.id)) return fail(Errc::internal, "a held session is gone");
    return update(session, {.expires_at_s = session.attributes.expires_at_s});
  };
  const Result<> done = attempt();
  store_->release(*session.id);
  return done;
}

Result<> StoreTarget::repair(const SessionTruth& session) {
  KVAULT_CHECK(ready());
  KVAULT_TRY(const VerifyReport report, store_->repair(*session.id));
  return report.damage.empty() ? Result<>() : fail(Errc::corrupt, report.damage.front());
}

}  // namespace kvault::torture
