#include "sdk/src/client.hpp"

#include <algorithm>
#include <utility>

#include "sdk/src/wire_convert.hpp"

namespace kvault {
namespace {

using wire::Builder;
using wire::MessageType;

/// Verifying reads all of a session's bytes: at 100 MB/s, this is 60 GB.
constexpr std::chrono::minutes kVerifyPatience{10};

client::SessionInfo from_wire(const wire::SessionInfo& info) {
  return {.id = wire::from_wire(*info.id()),
          .name = info.name()->str(),
          .commit_number = info.commit_number(),
          .n_token = info.n_token(),
          .n_page = info.n_page(),
          .live_bytes = info.live_bytes(),
          .created_at_s = info.created_at_s(),
          .committed_at_s = info.committed_at_s()};
}

Result<client::Session> session_from(const IncomingFrame& answer) {
  KVAULT_TRY(const wire::SessionOk* session, wire::verified<wire::SessionOk>(answer.body));
  KVAULT_TRY(SessionDescription description, wire::from_wire(*session->description()));
  return client::Session{from_wire(*session->info()), std::move(description), session->n_record()};
}

flatbuffers::Offset<flatbuffers::String> text(Builder& builder, std::string_view value) {
  return builder.CreateString(value.data(), value.size());
}

}  // namespace

wire::FrameHeader Client::next_header(MessageType type) {
  return {.version = version_, .type = type, .request_id = next_request_id_++};
}

Result<IncomingFrame> Client::wait_for_answer(const wire::FrameHeader& header,
                                              std::chrono::milliseconds patience) {
  for (;;) {
    KVAULT_TRY(std::optional<IncomingFrame> frame, take_frame(patience));
    if (!frame) continue;
    const bool is_answer = frame->header.is_reply() && frame->header.type == header.type &&
                           frame->header.request_id == header.request_id;
    if (!is_answer) {
      channel_.close();
      return fail(Errc::protocol,
                  message("an answer of type ", static_cast<unsigned>(frame->header.type),
                          " to request ", frame->header.request_id, " came where one to ",
                          header.request_id, " was awaited"));
    }
    if (frame->header.is_error()) {
      return tl::unexpected<Error>(wire::decode_refusal(frame->body));
    }
    return std::move(*frame);
  }
}

Result<std::optional<IncomingFrame>> Client::take_frame(std::chrono::milliseconds patience) {
  KVAULT_TRY(IncomingFrame frame,
             patience.count() > 0 ? channel_.receive(patience) : channel_.receive());
  if (frame.header.type == MessageType::credit) {
    KVAULT_TRY(const wire::Credit* credit, wire::verified<wire::Credit>(frame.body));
    credit_bytes_ += credit->bytes();
    return std::nullopt;
  }
  const auto record = put_records_.find(frame.header.request_id);
  if (frame.header.type == MessageType::begin_record && record != put_records_.end()) {
    record->second.is_answered = true;
    if (frame.header.is_error()) record->second.refusal = wire::decode_refusal(frame.body);
    return std::nullopt;
  }
  return frame;
}

Result<client::Pong> Client::ping() {
  KVAULT_TRY(const IncomingFrame answer,
             request(MessageType::ping, [](Builder& b) { return wire::CreatePing(b); }));
  KVAULT_TRY(const wire::Pong* pong, wire::verified<wire::Pong>(answer.body));
  return client::Pong{pong->uptime_s(), pong->n_connection()};
}

Result<client::Stats> Client::stats() {
  KVAULT_TRY(const IncomingFrame answer,
             request(MessageType::stats, [](Builder& b) { return wire::CreateStats(b); }));
  KVAULT_TRY(const wire::StatsOk* stats, wire::verified<wire::StatsOk>(answer.body));
  return client::Stats{.n_session = stats->n_session(),
                       .n_record = stats->n_record(),
                       .n_pending_record = stats->n_pending_record(),
                       .n_pack = stats->n_pack(),
                       .live_bytes = stats->live_bytes(),
                       .pack_bytes = stats->pack_bytes(),
                       .n_connection = stats->n_connection(),
                       .n_queued_task = stats->n_queued_task()};
}

Result<client::VerifyReport> Client::verify(std::optional<std::string_view> name_or_id) {
  std::vector<std::string> sessions;
  if (name_or_id) {
    sessions.emplace_back(*name_or_id);
  } else {
    KVAULT_TRY(const std::vector<client::SessionInfo> all, list());
    for (const client::SessionInfo& info : all) sessions.push_back(to_hex(info.id));
  }
  client::VerifyReport total;
  for (const std::string& session : sessions) {
    const auto make = [&](Builder& b) { return wire::CreateVerifySession(b, text(b, session)); };
    Result<IncomingFrame> answer = request(MessageType::verify_session, make, kVerifyPatience);
    const bool is_removed_meanwhile =
        !answer && !name_or_id && answer.error().code == Errc::not_found;
    if (is_removed_meanwhile) continue;
    if (!answer) return tl::unexpected<Error>(std::move(answer).error());
    KVAULT_TRY(const wire::VerifySessionOk* report,
               wire::verified<wire::VerifySessionOk>(answer->body));
    total.n_session += 1;
    total.n_record += report->n_record();
    total.bytes += report->bytes();
    total.n_damage += report->n_damage();
    if (report->damage() == nullptr) continue;
    for (const auto* sentence : *report->damage()) total.damage.push_back(sentence->str());
  }
  return total;
}

Result<> Client::shutdown() {
  KVAULT_CHECK(request(MessageType::shutdown, [](Builder& b) { return wire::CreateShutdown(b); }));
  return {};
}

Result<client::Session> Client::create_session(const SessionDescription& description) {
  const auto make = [&](Builder& b) {
    return wire::CreateCreateSession(b, wire::to_wire(b, description));
  };
  KVAULT_TRY(const IncomingFrame answer, request(MessageType::create_session, make));
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
  return session_from(answer);
}

Result<> Client::close_session(const SessionId& session) {
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
    if (page->sessions() == nullptr || page->sessions()->size() == 0) return sessions;
    for (const wire::SessionInfo* info : *page->sessions()) sessions.push_back(from_wire(*info));
    if (sessions.back().name <= after) {
      return fail(Errc::protocol, "a list of sessions does not ascend");
    }
  }
}

Result<client::Session> Client::inspect(std::string_view name_or_id) {
  const auto make = [&](Builder& b) { return wire::CreateInspectSession(b, text(b, name_or_id)); };
  KVAULT_TRY(const IncomingFrame answer, request(MessageType::inspect_session, make));
  return session_from(answer);
}

Result<> Client::delete_session(std::string_view name_or_id) {
  const auto make = [&](Builder& b) { return wire::CreateDeleteSession(b, text(b, name_or_id)); };
  KVAULT_CHECK(request(MessageType::delete_session, make));
  return {};
}

}  // namespace kvault
