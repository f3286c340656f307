#include "sdk/src/client.hpp"

#include <algorithm>
#include <utility>

#include "sdk/src/client_wire.hpp"

namespace kvault {
namespace {

using wire::Builder;
using wire::MessageType;

/// Verifying reads all of a session's bytes: at 100 MB/s, this is 60 GB.
constexpr std::chrono::minutes kVerifyPatience{10};

flatbuffers::Offset<flatbuffers::String> text(Builder& builder, std::string_view value) {
  return builder.CreateString(value.data(), value.size());
}

}  // namespace

wire::FrameHeader Client::next_header(MessageType type, std::uint64_t patience_ms) {
  return {.version = version_,
          .type = type,
          .request_id = next_request_id_++,
          .payload_offset = patience_ms};
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
  return client::from_wire(*stats);
}

Result<client::VerifyReport> Client::verify(std::optional<std::string_view> name_or_id) {
  client::VerifyReport total;
  if (name_or_id) {
    KVAULT_CHECK(verify_one(std::string(*name_or_id), false, total));
    return total;
  }
  KVAULT_TRY(const std::vector<client::SessionInfo> all, list());
  for (const client::SessionInfo& info : all) {
    const Result<> verified = verify_one(to_hex(info.id), false, total);
    const bool is_removed_meanwhile = !verified && verified.error().code == Errc::not_found;
    if (!verified && !is_removed_meanwhile) return tl::unexpected<Error>(verified.error());
  }
  return total;
}

Result<client::VerifyReport> Client::repair(std::string_view name_or_id) {
  client::VerifyReport report;
  KVAULT_CHECK(verify_one(std::string(name_or_id), true, report));
  return report;
}

/// Adds a session's report to `total`.
Result<> Client::verify_one(const std::string& session, bool repair, client::VerifyReport& total) {
  const auto make = [&](Builder& b) {
    return wire::CreateVerifySession(b, text(b, session), repair);
  };
  KVAULT_TRY(const IncomingFrame answer,
             request(MessageType::verify_session, make, kVerifyPatience));
  KVAULT_TRY(const wire::VerifySessionOk* report,
             wire::verified<wire::VerifySessionOk>(answer.body));
  total.n_session += 1;
  total.n_record += report->n_record();
  total.bytes += report->bytes();
  total.n_damage += report->n_damage();
  if (report->damage() == nullptr) return {};
  for (const auto* sentence : *report->damage()) total.damage.push_back(sentence->str());
  return {};
}

Result<> Client::remove_namespace() {
  KVAULT_CHECK(request(MessageType::remove_namespace,
                       [](Builder& b) { return wire::CreateRemoveNamespace(b); }));
  channel_.close();
  put_records_.clear();
  open_sessions_.clear();
  keys_.clear();
  return {};
}

Result<> Client::shutdown() {
  KVAULT_CHECK(request(MessageType::shutdown, [](Builder& b) { return wire::CreateShutdown(b); }));
  return {};
}

}  // namespace kvault
