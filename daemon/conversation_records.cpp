#include <algorithm>

#include "daemon/conversation.hpp"
#include "sdk/src/wire_convert.hpp"

namespace kvault {

void Conversation::on_begin(const Header& header, const wire::BeginRecord& request) {
  if (incoming_) {
    return say_goodbye(Error{
        Errc::protocol, message("record ", header.request_id, " begins while record ",
                                incoming_->request.request_id, " has ", incoming_->received_bytes,
                                " of ", incoming_->payload_bytes, " bytes")});
  }
  Result<SharedUpload> upload = begin(header, request);
  if (!upload) refuse(header, upload.error());
  if (request.payload_bytes() == 0) return;
  incoming_ = Incoming{header, request.payload_bytes(), 0, upload ? *upload : nullptr};
}

Result<Conversation::SharedUpload> Conversation::begin(const Header& header,
                                                       const wire::BeginRecord& request) {
  const SessionId session = wire::from_wire(*request.session_id());
  KVAULT_CHECK(require_lease(session));
  if (uploads_.size() >= wire::kRecordsPendingMax) {
    return fail(Errc::limit_exceeded,
                message("this connection has ", uploads_.size(),
                        " records not committed; the most is ", wire::kRecordsPendingMax));
  }
  if (uploads_.contains(header.request_id)) {
    return fail(Errc::protocol, message("there is a record ", header.request_id, " already"));
  }
  KVAULT_TRY(RecordDraft draft, wire::from_wire(request));
  const bool is_empty = draft.payload_bytes == 0;
  auto upload = std::make_shared<Upload>(Upload{session, draft.payload_bytes, {}});
  auto run = [upload, is_empty, draft = std::move(draft)](Store& store) mutable -> Result<> {
    KVAULT_TRY(upload->handle, store.begin_record(upload->session, std::move(draft)));
    if (!is_empty) return {};
    Result<> finished = store.finish_record(*upload->handle);
    if (!finished) upload->handle.reset();
    return finished;
  };
  const auto done = [header, is_empty](Conversation& self, const Result<>& result) {
    self.on_written(header, 0, is_empty, result);
  };
  uploads_[header.request_id] = upload;
  submit(header.body_size, in_time(track(header), std::move(run)), done);
  return upload;
}

void Conversation::on_data(const Header& header, Body& body) {
  const std::uint64_t size = body.size();
  if (!incoming_ || incoming_->request.request_id != header.request_id) {
    return say_goodbye(Error{
        Errc::protocol, message("data for record ", header.request_id, ", which takes none now")});
  }
  const std::uint64_t received = incoming_->received_bytes;
  if (size == 0 || header.payload_offset != received ||
      size > incoming_->payload_bytes - received) {
    return say_goodbye(
        Error{Errc::protocol, message(size, " bytes of data at ", header.payload_offset,
                                      " for record ", header.request_id, ", which has ", received,
                                      " of ", incoming_->payload_bytes, " bytes")});
  }
  if (size > credit_bytes_) {
    return say_goodbye(Error{Errc::protocol, message(size, " bytes of data with a credit of ",
                                                     credit_bytes_, " bytes")});
  }
  credit_bytes_ -= size;
  incoming_->received_bytes += size;
  const bool is_last = incoming_->received_bytes == incoming_->payload_bytes;
  write_data(std::move(body), is_last);
  if (is_last) incoming_.reset();
}

void Conversation::write_data(Body body, bool is_last) {
  const Header request = incoming_->request;
  const std::uint64_t size = body.size();
  const std::uint64_t offset = incoming_->received_bytes - size;
  // Without an upload the record is refused: its data is thrown away, in order, for the credit.
  auto run = [upload = incoming_->upload, offset, is_last,
              body = std::move(body)](Store& store) mutable -> Result<> {
    if (!upload || !upload->handle) return {};
    Result<> result = store.write_payload(*upload->handle, offset, body);
    if (result && is_last) result = store.finish_record(*upload->handle);
    if (!result) upload->handle.reset();
    return result;
  };
  const auto done = [request, size, is_last](Conversation& self, const Result<>& result) {
    self.on_written(request, size, is_last, result);
  };
  submit(size, std::move(run), done);
}

void Conversation::on_written(const Header& request, std::uint64_t size, bool is_last,
                              Result<> result) {
  if (size > 0) {
    credit_bytes_ += size;
    const Header header{.version = version_, .type = wire::MessageType::credit};
    Result<wire::Frame> frame =
        wire::make_message(header, [size](flatbuffers::FlatBufferBuilder& builder) {
          return wire::CreateCredit(builder, size);
        });
    if (frame) connection_.send(std::move(*frame));
  }
  const auto upload = uploads_.find(request.request_id);
  if (upload == uploads_.end()) return;  // refused, aborted or closed since
  if (!result) return refuse_upload(request, result.error());
  if (!is_last) return;
  answer(request, [bytes = upload->second->payload_bytes](flatbuffers::FlatBufferBuilder& builder) {
    return wire::CreateRecordStored(builder, bytes);
  });
}

void Conversation::refuse_upload(const Header& request, const Error& error) {
  uploads_.erase(request.request_id);
  if (incoming_ && incoming_->request.request_id == request.request_id) incoming_->upload.reset();
  refuse(request, error);
}

void Conversation::on_abort(const Header& header, const wire::AbortRecord& request) {
  submit_barrier(header, [header, record = request.record()](Conversation& self) {
    self.abort(header, record);
  });
}

void Conversation::abort(const Header& header, std::uint64_t record) {
  if (incoming_ && incoming_->request.request_id == record) incoming_.reset();
  const auto entry = uploads_.find(record);
  if (entry == uploads_.end()) return answer_done(header);
  const auto run = [upload = std::move(entry->second)](Store& store) -> Result<bool> {
    if (upload->handle) KVAULT_CHECK(store.abort_record(*upload->handle));
    return true;
  };
  uploads_.erase(entry);
  submit(0, run, [header](Conversation& self, const Result<bool>& aborted) {
    if (!aborted) return self.refuse(header, aborted.error());
    self.answer_done(header);
  });
}

void Conversation::on_commit(const Header& header, const wire::Commit& request) {
  const SessionId session = wire::from_wire(*request.session_id());
  Result<std::vector<SharedUpload>> uploads = take_uploads(request);
  if (!uploads) return refuse(header, uploads.error());
  CommitRequest commit{.expected_commit_number = request.expected_commit_number(),
                       .n_token = request.n_token(),
                       .kept_n_token = request.kept_n_token(),
                       .kept_n_page = request.kept_n_page(),
                       .records = {},
                       .request_key = wire::from_wire(request.request_key())};
  const std::shared_ptr<RequestState> state = track(header);
  // Not in_time() as others: the records of one that comes too late are dropped.
  auto run = [session, state, commit = std::move(commit),
              uploads = std::move(*uploads)](Store& store) mutable -> Result<CommitInfo> {
    for (const SharedUpload& upload : uploads) {
      if (upload->handle) commit.records.push_back(*upload->handle);
    }
    const Result<> in_time = state->check();
    if (in_time && commit.records.size() == uploads.size()) return store.commit(session, commit);
    for (const RecordHandle handle : commit.records) KVAULT_CHECK(store.abort_record(handle));
    KVAULT_CHECK(in_time);
    return fail(Errc::incomplete, message(uploads.size() - commit.records.size(), " of ",
                                          uploads.size(), " records were refused"));
  };
  const auto done = [header](Conversation& self, const CommitInfo& info) {
    self.answer(header, [&](flatbuffers::FlatBufferBuilder& builder) {
      return wire::CreateCommitOk(builder, info.commit_number, info.n_token, info.n_page,
                                  info.bytes_written, info.raw_bytes, info.coded_bytes,
                                  info.shared_bytes);
    });
  };
  submit_turn(header, state, on_store(store_, std::move(run)), done);
}

Result<std::vector<Conversation::SharedUpload>> Conversation::take_uploads(
    const wire::Commit& request) {
  const SessionId session = wire::from_wire(*request.session_id());
  KVAULT_CHECK(require_lease(session));
  std::vector<SharedUpload> uploads;
  std::optional<Error> error;
  if (const auto* records = request.records()) {
    for (const std::uint64_t record : *records) {
      const auto entry = uploads_.find(record);
      const bool is_incoming = incoming_ && incoming_->request.request_id == record;
      if (entry == uploads_.end() || entry->second->session != session || is_incoming) {
        error = Error{Errc::not_found,
                      message("there is no record ", record, " to commit to ", to_hex(session))};
        continue;
      }
      uploads.push_back(std::move(entry->second));
      uploads_.erase(entry);
    }
  }
  if (!error) return uploads;
  const auto abort = [uploads = std::move(uploads)](Store& store) -> Result<> {
    for (const SharedUpload& upload : uploads) {
      if (upload->handle) KVAULT_CHECK(store.abort_record(*upload->handle));
    }
    return {};
  };
  submit(0, abort, [](Conversation&, const Result<>&) {});
  return tl::unexpected<Error>(std::move(*error));
}

std::vector<Conversation::SharedUpload> Conversation::take_uploads_of(const SessionId& session) {
  std::vector<SharedUpload> uploads;
  for (auto entry = uploads_.begin(); entry != uploads_.end();) {
    if (entry->second->session != session) {
      ++entry;
      continue;
    }
    if (incoming_ && incoming_->upload == entry->second) incoming_->upload.reset();
    uploads.push_back(std::move(entry->second));
    entry = uploads_.erase(entry);
  }
  return uploads;
}

}  // namespace kvault
