#include <utility>

#include "daemon/conversation.hpp"
#include "daemon/session_info_wire.hpp"
#include "daemon/session_lookup.hpp"

namespace kvault {

using wire::Builder;

namespace {

SessionChange change_from(const wire::UpdateSession& request) {
  SessionChange change;
  if (request.name() != nullptr) change.name = request.name()->str();
  if (request.set_labels()) {
    change.labels.emplace();
    if (request.labels() != nullptr) {
      for (const auto* label : *request.labels()) change.labels->push_back(label->str());
    }
  }
  if (request.set_pinned()) change.is_pinned = request.pinned();
  if (request.set_expiry()) change.expires_at_s = request.expires_at_s();
  return change;
}

}  // namespace

void Conversation::on_update(const Header& header, const wire::UpdateSession& request) {
  const auto run = [text = request.session()->str(),
                    change = change_from(request)](Store& store) -> Result<DescribedSession> {
    KVAULT_TRY(const SessionInfo info, find_session(store, text));
    KVAULT_TRY(SessionInfo updated, store.update_session(info.id, change));
    return store.describe(std::move(updated));
  };
  submit_request(header, run, [header](Conversation& self, const DescribedSession& session) {
    self.answer(header, [&](Builder& builder) { return to_wire(builder, session); });
  });
}

void Conversation::on_fork(const Header& header, const wire::ForkSession& request) {
  const auto run =
      [text = request.session()->str(), n_token = request.n_token(), name = request.name()->str(),
       key = wire::from_wire(request.request_key())](Store& store) -> Result<ForkInfo> {
    const Result<SessionInfo> source = find_session(store, text);
    if (!source) {
      // Gone since the fork was made, of which the client has not heard.
      const Result<SessionInfo> fork = store.find_session_by_name(name);
      const bool is_made = fork && key != RequestKey() && fork->attributes.made_by == key;
      if (!is_made) return tl::unexpected<Error>(source.error());
      return store.fork_session(fork->id, n_token, name, key);
    }
    return store.fork_session(source->id, n_token, name, key);
  };
  submit_request(header, run, [header](Conversation& self, const ForkInfo& fork) {
    self.answer(header, [&](Builder& builder) {
      const auto info = to_wire(builder, fork.info);
      return wire::CreateForkSessionOk(builder, info, fork.kept.n_token, fork.kept.exact);
    });
  });
}

void Conversation::on_match(const Header& header, const wire::MatchPrefix& request) {
  Result<SessionDescription> description = wire::from_wire(*request.description());
  if (!description) return refuse(header, description.error());
  std::vector<std::uint32_t> token_ids;
  if (const auto* ids = request.token_ids()) token_ids.assign(ids->begin(), ids->end());
  const auto run = [description = std::move(*description), token_ids = std::move(token_ids)](
                       Store& store) { return store.match(description, token_ids); };
  submit_request(header, run, [header](Conversation& self, const MatchInfo& match) {
    self.answer(header, [&](Builder& builder) {
      flatbuffers::Offset<wire::SessionInfo> info;
      if (match.session) info = to_wire(builder, *match.session);
      return wire::CreateMatchPrefixOk(builder, info, match.n_token, match.kept.n_token,
                                       match.kept.exact);
    });
  });
}

}  // namespace kvault
