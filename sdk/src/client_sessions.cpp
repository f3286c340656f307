#include <algorithm>
#include <utility>

#include "sdk/src/client.hpp"
#include "sdk/src/client_wire.hpp"

namespace kvault {
namespace {

using wire::Builder;
using wire::MessageType;

Result<client::Session> session_from(const IncomingFrame& answer) {
  KVAULT_TRY(const wire::SessionOk* session, wire::verified<wire::SessionOk>(answer.body));
  KVAULT_TRY(SessionDescription description, wire::from_wire(*session->description()));
  client::Session result{client::from_wire(*session->info()), std::move(description),
                         session->n_record()};
  if (session->key() == nullptr || session->key_family() == nullptr) return result;
  KVAULT_TRY(const SecretKey key, wire::from_wire(*session->key()));
  result.key = SessionKey{wire::from_wire(*session->key_family()), key};
  return result;
}

flatbuffers::Offset<flatbuffers::String> text(Builder& builder, std::string_view value) {
  return builder.CreateString(value.data(), value.size());
}

}  // namespace

Result<client::Session> Client::create_session(const SessionDescription& description) {
  const auto make = [&](Builder& b, const wire::RequestKey* key) {
    return wire::CreateCreateSession(b, wire::to_wire(b, description), key);
  };
  KVAULT_TRY(const IncomingFrame answer, request_once(MessageType::create_session, make));
  return session_from(answer);
}

Result<client::Session> Client::open_session(std::string_view name_or_id,
                                             const SessionDescription* offered,
                                             client::OpenMode mode) {
  const auto make = [&](Builder& b) {
    const auto session = text(b, name_or_id);
    flatbuffers::Offset<wire::Description> description;
    if (offered != nullptr) description = wire::to_wire(b, *offered);
    return wire::CreateOpenSession(b, session, description, mode == client::OpenMode::write);
  };
  KVAULT_TRY(const IncomingFrame answer, request(MessageType::open_session, make));
  Result<client::Session> session = session_from(answer);
  if (!session) return session;
  open_sessions_.insert(session->info.id);
  if (session->key) {
    keys_.insert_or_assign(session->info.id, *session->key);
  } else if (is_encrypted_) {
    return fail(Errc::protocol, "kvaultd gives no key for a session of an encrypted namespace");
  }
  return session;
}

Result<> Client::close_session(const SessionId& session) {
  open_sessions_.erase(session);
  keys_.erase(session);
  const auto make = [id = wire::to_wire(session)](Builder& b) {
    return wire::CreateCloseSession(b, &id);
  };
  // Answers to records that the close drops come before its own, or never.
  Result<IncomingFrame> answer = request(MessageType::close_session, make);
  for (const std::uint64_t record : records_of(session)) put_records_.erase(record);
  KVAULT_CHECK(std::move(answer));
  return {};
}

Result<std::vector<client::SessionInfo>> Client::list() {
  std::vector<client::SessionInfo> sessions;
  for (;;) {
    const std::string after = sessions.empty() ? std::string() : sessions.back().name;
    const auto make = [&](Builder& b) { return wire::CreateListSessions(b, text(b, after)); };
    KVAULT_TRY(const IncomingFrame answer, request(MessageType::list_sessions, make));
    KVAULT_TRY(const wire::ListSessionsOk* page, wire::verified<wire::ListSessionsOk>(answer.body));
    if (page->sessions() == nullptr || page->sessions()->size() == 0) break;
    for (const wire::SessionInfo* info : *page->sessions())
      sessions.push_back(client::from_wire(*info));
    if (is_encrypted_ ? sessions.back().name == after : sessions.back().name <= after) {
      return fail(Errc::protocol, "a list of sessions does not ascend");
    }
  }
  std::sort(sessions.begin(), sessions.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return sessions;
}

Result<client::Session> Client::inspect(std::string_view name_or_id) {
  const auto make = [&](Builder& b) { return wire::CreateInspectSession(b, text(b, name_or_id)); };
  KVAULT_TRY(const IncomingFrame answer, request(MessageType::inspect_session, make));
  return session_from(answer);
}

Result<> Client::delete_session(std::string_view name_or_id) { return remove(name_or_id, false); }

Result<> Client::destroy_session(std::string_view name_or_id) { return remove(name_or_id, true); }

Result<> Client::remove(std::string_view name_or_id, bool destroy) {
  const auto make = [&](Builder& b) {
    return wire::CreateDeleteSession(b, text(b, name_or_id), destroy);
  };
  KVAULT_CHECK(request(MessageType::delete_session, make));
  return {};
}

Result<client::Session> Client::update_session(std::string_view name_or_id,
                                               const client::SessionChange& change) {
  const auto make = [&](Builder& b) {
    const auto session = text(b, name_or_id);
    flatbuffers::Offset<flatbuffers::String> name;
    if (change.name) name = text(b, *change.name);
    flatbuffers::Offset<flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>> labels;
    if (change.labels) labels = b.CreateVectorOfStrings(*change.labels);
    return wire::CreateUpdateSession(b, session, name, change.labels.has_value(), labels,
                                     change.is_pinned.has_value(), change.is_pinned.value_or(false),
                                     change.expires_at_s.has_value(),
                                     change.expires_at_s.value_or(0));
  };
  KVAULT_TRY(const IncomingFrame answer, request(MessageType::update_session, make));
  return session_from(answer);
}

Result<client::Fork> Client::fork_session(std::string_view name_or_id, std::uint64_t n_token,
                                          std::string_view name) {
  const auto make = [&](Builder& b, const wire::RequestKey* key) {
    const auto session = text(b, name_or_id);
    return wire::CreateForkSession(b, session, n_token, text(b, name), key);
  };
  KVAULT_TRY(const IncomingFrame answer, request_once(MessageType::fork_session, make));
  KVAULT_TRY(const wire::ForkSessionOk* fork, wire::verified<wire::ForkSessionOk>(answer.body));
  return client::Fork{client::from_wire(*fork->info()), {fork->kept_n_token(), fork->exact()}};
}

Result<client::Match> Client::match(const SessionDescription& description,
                                    std::span<const std::uint32_t> token_ids) {
  const auto asked = token_ids.first(std::min(token_ids.size(), client::kMatchTokensMax));
  const auto make = [&](Builder& b) {
    const auto model = wire::to_wire(b, description);
    return wire::CreateMatchPrefix(b, model, b.CreateVector(asked.data(), asked.size()));
  };
  KVAULT_TRY(const IncomingFrame answer, request(MessageType::match_prefix, make));
  KVAULT_TRY(const wire::MatchPrefixOk* found, wire::verified<wire::MatchPrefixOk>(answer.body));
  client::Match match{
      .session = {}, .n_token = found->n_token(), .kept = {found->kept_n_token(), found->exact()}};
  if (found->info() != nullptr) match.session = client::from_wire(*found->info());
  return match;
}

}  // namespace kvault
