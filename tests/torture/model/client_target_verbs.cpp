#include "tests/torture/model/client_target.hpp"

/// The verbs that change a session's place or name and not what it holds. The daemon keeps house
/// by itself, so that nothing may be left that has expired.
namespace kvault::torture {
namespace {

constexpr std::uint64_t kLongAgo = 1000;  // seconds since 1970

}  // namespace

Result<Forked> ClientTarget::fork(const SessionTruth& source, std::uint64_t n_token,
                                  const std::string& name) {
  KVAULT_TRY(const client::Fork fork, client_->fork_session(to_hex(*source.id), n_token, name));
  return Forked{fork.info.id, fork.kept.n_token};
}

Result<> ClientTarget::update(const SessionTruth& session, const SessionChange& change) {
  KVAULT_CHECK(client_->update_session(to_hex(*session.id), {.name = change.name,
                                                             .labels = change.labels,
                                                             .is_pinned = change.is_pinned,
                                                             .expires_at_s = change.expires_at_s}));
  return {};
}

Result<Matched> ClientTarget::match(const SessionDescription& description,
                                    const std::vector<std::uint32_t>& tokens) {
  KVAULT_TRY(const client::Match match, client_->match(description, tokens));
  if (!match.session) return Matched{};
  return Matched{match.session->name, match.kept.n_token};
}

Result<> ClientTarget::maintain() {
  KVAULT_CHECK(client_->stats());
  return {};
}

Result<> ClientTarget::expire(const SessionTruth& session) { return remove(session); }

Result<> ClientTarget::outlive(const SessionTruth& session) {
  KVAULT_CHECK(client_->open_session(to_hex(*session.id), nullptr, client::OpenMode::read));
  KVAULT_CHECK(update(session, {.expires_at_s = kLongAgo}));
  KVAULT_CHECK(update(session, {.expires_at_s = session.attributes.expires_at_s}));
  return client_->close_session(*session.id);
}

Result<> ClientTarget::repair(const SessionTruth& session) {
  KVAULT_TRY(const client::VerifyReport report, client_->repair(to_hex(*session.id)));
  return report.damage.empty() ? Result<>() : fail(Errc::corrupt, report.damage.front());
}

}  // namespace kvault::torture
