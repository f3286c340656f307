#include <algorithm>
#include <array>
#include <utility>

#include "sdk/src/client.hpp"
#include "sdk/src/sealed_upload.hpp"
#include "sdk/src/wire_convert.hpp"

namespace kvault {

using wire::Builder;
using wire::MessageType;

std::vector<std::uint64_t> Client::records_of(const SessionId& session) const {
  std::vector<std::uint64_t> ids;
  for (const auto& [id, record] : put_records_) {
    if (record.session == session) ids.push_back(id);
  }
  return ids;
}

std::size_t Client::n_unanswered() const {
  const auto is_open = [](const auto& entry) { return !entry.second.is_answered; };
  return static_cast<std::size_t>(std::count_if(put_records_.begin(), put_records_.end(), is_open));
}

Result<> Client::check_refusals(const SessionId& session) const {
  for (const auto& [id, record] : put_records_) {
    if (record.session == session && record.refusal) {
      return tl::unexpected<Error>(*record.refusal);
    }
  }
  return {};
}

Result<> Client::put_record(const SessionId& session, const client::RecordUpload& plain,
                            const client::Progress& progress) {
  const auto attempt = [&]() -> Result<> {
    std::optional<SealedUpload> sealed;
    if (const auto key = keys_.find(session); key != keys_.end()) {
      KVAULT_TRY(sealed, SealedUpload::create(key->second, plain));
    }
    const client::RecordUpload upload = sealed ? sealed->upload() : plain;
    KVAULT_TRY(PayloadReader reader, PayloadReader::create(upload.draft, upload.pieces));
    if (put_records_.size() >= n_record_pending_max_) {
      return fail(Errc::limit_exceeded,
                  message(put_records_.size(), " records wait for their commit; the most is ",
                          n_record_pending_max_));
    }
    while (n_unanswered() >= n_request_max_) KVAULT_CHECK(take_frame({}));
    KVAULT_CHECK(check_refusals(session));
    const wire::FrameHeader header = next_header(MessageType::begin_record);
    KVAULT_TRY(const wire::Frame frame, wire::make_message(header, [&](Builder& builder) {
                 return wire::to_wire(builder, session, upload.draft);
               }));
    put_records_[header.request_id] = PutRecord{session, false, {}};
    KVAULT_CHECK(channel_.send(frame));
    return send_payload(header.request_id, reader, progress);
  };
  if (Result<> sent = attempt(); !sent) return give_up(session, std::move(sent).error());
  return {};
}

Result<> Client::send_payload(std::uint64_t record, PayloadReader& reader,
                              const client::Progress& progress) {
  const SessionId session = put_records_.at(record).session;
  const std::uint64_t total = reader.left_bytes();
  wire::Frame frame(wire::kHeaderSize + std::min(data_frame_bytes_, total));
  while (reader.left_bytes() > 0) {
    if (progress && !progress(reader.position(), total)) {
      return fail(Errc::cancelled, message("cancelled at byte ", reader.position(), " of ", total));
    }
    const std::uint64_t size = std::min(data_frame_bytes_, reader.left_bytes());
    while (credit_bytes_ < size) KVAULT_CHECK(take_frame({}));
    KVAULT_CHECK(check_refusals(session));
    const wire::FrameHeader header{.version = version_,
                                   .type = MessageType::data,
                                   .body_size = static_cast<std::uint32_t>(size),
                                   .request_id = record,
                                   .payload_offset = reader.position()};
    const std::array<std::byte, wire::kHeaderSize> head = wire::encode(header);
    std::copy(head.begin(), head.end(), frame.begin());
    reader.read(std::span(frame).subspan(wire::kHeaderSize, size));
    credit_bytes_ -= size;
    KVAULT_CHECK(channel_.send(std::span(frame).first(wire::kHeaderSize + size)));
  }
  if (progress && !progress(total, total)) {
    return fail(Errc::cancelled, message("cancelled at byte ", total, " of ", total));
  }
  return {};
}

Result<client::CommitInfo> Client::commit(const SessionId& session,
                                          const client::CommitRequest& request_in,
                                          const RequestKey& key) {
  const std::vector<std::uint64_t> records = records_of(session);
  const auto wait_for_records = [&]() -> Result<> {
    for (const std::uint64_t record : records) {
      while (!put_records_.at(record).is_answered) KVAULT_CHECK(take_frame({}));
    }
    return check_refusals(session);
  };
  if (Result<> stored = wait_for_records(); !stored) {
    return give_up(session, std::move(stored).error());
  }
  const auto make = [&, id = wire::to_wire(session),
                     made_by = wire::to_wire(key)](Builder& builder) {
    return wire::CreateCommit(builder, &id, request_in.expected_commit_number, request_in.n_token,
                              request_in.kept_n_token, request_in.kept_n_page,
                              builder.CreateVector(records), &made_by);
  };
  const Result<IncomingFrame> answer = request(MessageType::commit, make);
  for (const std::uint64_t record : records) put_records_.erase(record);
  if (!answer) return tl::unexpected<Error>(answer.error());
  KVAULT_TRY(const wire::CommitOk* commit, wire::verified<wire::CommitOk>(answer->body));
  return client::CommitInfo{commit->commit_number(), commit->n_token(),   commit->n_page(),
                            commit->bytes_written(), commit->raw_bytes(), commit->coded_bytes(),
                            commit->shared_bytes()};
}

Result<client::CommitInfo> Client::commit(const SessionId& session,
                                          const client::CommitRequest& request_in,
                                          std::span<const client::RecordUpload> records,
                                          const client::Progress& progress) {
  std::uint64_t total = 0;
  for (const client::RecordUpload& record : records) total += record.draft.payload_bytes;
  std::uint64_t before = 0;
  for (const client::RecordUpload& record : records) {
    client::Progress part;
    if (progress) {
      // Sealed, a record is a little larger than what it holds.
      part = [&](std::uint64_t done, std::uint64_t) {
        return progress(std::min(before + done, total), total);
      };
    }
    KVAULT_CHECK(put_record(session, record, part));
    before += record.draft.payload_bytes;
  }
  return commit(session, request_in);
}

Result<> Client::drop_records(const SessionId& session) {
  for (const std::uint64_t record : records_of(session)) {
    const auto make = [&](Builder& b) { return wire::CreateAbortRecord(b, record); };
    const Result<IncomingFrame> answer = request(MessageType::abort_record, make);
    put_records_.erase(record);
    if (!answer) return tl::unexpected<Error>(answer.error());
  }
  return {};
}

tl::unexpected<Error> Client::give_up(const SessionId& session, Error error) {
  if (channel_.is_open()) {
    // The first error is the one to tell; a failure here has closed the channel.
    if (!drop_records(session)) channel_.close();
  }
  if (!channel_.is_open()) put_records_.clear();
  return tl::unexpected<Error>(std::move(error));
}

}  // namespace kvault
