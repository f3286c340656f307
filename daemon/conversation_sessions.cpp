#include <algorithm>
#include <limits>

#include "daemon/conversation.hpp"
#include "daemon/session_info_wire.hpp"
#include "daemon/session_lookup.hpp"
#include "sdk/src/wire_convert.hpp"

namespace kvault {
namespace {

using wire::Builder;

/// A page of an attachment: as many records from `first` on as one frame holds.
flatbuffers::Offset<wire::AttachOk> to_wire(Builder& builder, const Attachment& attachment,
                                            std::size_t first) {
  std::vector<flatbuffers::Offset<flatbuffers::String>> packs;
  std::vector<wire::RecordPlace> places;
  std::map<std::string, std::uint32_t> pack_indices;
  std::size_t path_bytes = 0;
  const std::size_t n_record = attachment.records.size();
  for (std::size_t i = std::min(first, n_record); i < n_record; ++i) {
    const RecordLocation& record = attachment.records[i];
    const std::string& path = record.pack_path.native();
    if (places.size() == wire::kRecordsPerPage) break;
    if (!places.empty() && path_bytes + path.size() > wire::kPathBytesPerPage) break;
    const auto next_index = static_cast<std::uint32_t>(packs.size());
    const auto [entry, is_new] = pack_indices.try_emplace(path, next_index);
    if (is_new) {
      packs.push_back(builder.CreateString(path));
      path_bytes += path.size() + 16;
    }
    places.emplace_back(static_cast<std::uint16_t>(record.kind), entry->second, record.n_token,
                        record.first_token, record.offset_bytes, record.length_bytes,
                        record.checksum);
  }
  const auto info = to_wire(builder, attachment.info);
  const auto paths = builder.CreateVector(packs);
  const auto records = builder.CreateVectorOfStructs(places);
  flatbuffers::Offset<wire::Description> description;
  if (first == 0) description = wire::to_wire(builder, attachment.description);
  return wire::CreateAttachOk(builder, info, static_cast<std::uint32_t>(n_record), paths, records,
                              description);
}

}  // namespace

void Conversation::on_create(const Header& header, const wire::CreateSession& request) {
  Result<SessionDescription> description = wire::from_wire(*request.description());
  if (!description) return refuse(header, description.error());
  const auto run =
      [description = std::move(*description),
       key = wire::from_wire(request.request_key())](Store& store) -> Result<DescribedSession> {
    KVAULT_TRY(SessionInfo info, store.create_session(description, key));
    return DescribedSession{std::move(info), description};
  };
  submit_request(header, run, [header](Conversation& self, const DescribedSession& created) {
    self.answer(header, [&](Builder& builder) { return to_wire(builder, created); });
  });
}

void Conversation::on_open(const Header& header, const wire::OpenSession& request) {
  std::optional<SessionDescription> offered;
  if (request.description() != nullptr) {
    Result<SessionDescription> description = wire::from_wire(*request.description());
    if (!description) return refuse(header, description.error());
    offered = std::move(*description);
  } else if (request.write()) {
    return refuse(header, Error{Errc::invalid_argument,
                                "a writer must describe its model: identity and shape"});
  }
  const auto run = [text = request.session()->str(),
                    offered = std::move(offered)](Store& store) -> Result<DescribedSession> {
    KVAULT_TRY(DescribedSession session, describe_session(store, text));
    if (offered) KVAULT_CHECK(check_identity(session.description, *offered));
    KVAULT_TRY(session.key, store.key_of(session.info.id));
    KVAULT_CHECK(store.hold(session.info.id));  // last: whoever fails holds nothing
    return session;
  };
  const auto done = [header, write = request.write()](Conversation& self,
                                                      const DescribedSession& session) {
    self.open(header, session, write);
  };
  const auto gone = [&host = host_, store = store_](const Result<DescribedSession>& session) {
    if (session) release_hold(host, store, session->info.id);
  };
  const std::shared_ptr<RequestState> state = track(header);
  submit_turn(header, state, on_store(store_, in_time(state, run)), done, gone);
}

/// pre: the store holds the session for this open.
void Conversation::open(const Header& header, const DescribedSession& session, bool write) {
  const SessionId id = session.info.id;
  const auto entry = open_.find(id);
  const bool is_open = entry != open_.end();
  const auto attempt = [&]() -> Result<> {
    if (!is_open && open_.size() >= wire::kSessionsOpenMax) {
      return fail(Errc::limit_exceeded,
                  message("this connection has ", open_.size(), " sessions open; the most is ",
                          wire::kSessionsOpenMax));
    }
    if (!write) return {};
    LeaseTable::Holder holder{connection_.id(), app_name_, connection_.peer().process_id};
    return host_.leases().acquire(id, std::move(holder));
  };
  const Result<> done = attempt();
  if (!done || is_open)
    release_hold(host_, store_, id);  // one hold for each session that is open here
  if (!done) return refuse(header, done.error());
  // Opening for reading what one writes already does not take the lease away.
  open_[id] = write || (is_open && entry->second);
  answer(header, [&](Builder& builder) { return to_wire(builder, session); });
}

void Conversation::on_close_session(const Header& header, const wire::CloseSession& request) {
  submit_barrier(header, [header, id = wire::from_wire(*request.session_id())](Conversation& self) {
    self.close(header, id);
  });
}

void Conversation::close(const Header& header, const SessionId& id) {
  if (open_.erase(id) > 0) release_hold(host_, store_, id);
  const auto run = [dropped = take_uploads_of(id)](Store& store) -> Result<bool> {
    for (const SharedUpload& upload : dropped) {
      if (upload->handle) KVAULT_CHECK(store.abort_record(*upload->handle));
    }
    return true;
  };
  submit(0, run, [header, id](Conversation& self, const Result<bool>& result) {
    self.host_.leases().release(id, self.connection_.id());
    if (!result) return self.refuse(header, result.error());
    self.answer_done(header);
  });
}

void Conversation::on_list(const Header& header, const wire::ListSessions& request) {
  std::string after = request.after_name() != nullptr ? request.after_name()->str() : "";
  const auto run = [after = std::move(after)](Store& store) {
    return store.list_sessions(after, wire::kSessionsPerPage);
  };
  const auto done = [header](Conversation& self, const std::vector<SessionInfo>& sessions) {
    self.answer(header, [&](Builder& builder) {
      std::vector<flatbuffers::Offset<wire::SessionInfo>> infos;
      for (const SessionInfo& info : sessions) infos.push_back(to_wire(builder, info));
      return wire::CreateListSessionsOk(builder, builder.CreateVector(infos));
    });
  };
  submit_request(header, run, done);
}

void Conversation::on_inspect(const Header& header, const wire::InspectSession& request) {
  const auto run = [text = request.session()->str()](Store& store) {
    return describe_session(store, text);
  };
  submit_request(header, run, [header](Conversation& self, const DescribedSession& session) {
    self.answer(header, [&](Builder& builder) { return to_wire(builder, session); });
  });
}

void Conversation::on_delete(const Header& header, const wire::DeleteSession& request) {
  const auto find = [text = request.session()->str()](Store& store) {
    return find_session(store, text);
  };
  // Found first, then leased so that no writer slips in, then removed.
  submit_request(
      header, find,
      [header, destroy = request.destroy()](Conversation& self, const SessionInfo& info) {
        self.remove(header, info.id, destroy);
      });
}

void Conversation::remove(const Header& header, const SessionId& id, bool destroy) {
  LeaseTable& leases = host_.leases();
  if (!leases.is_held_by(id, connection_.id())) {
    LeaseTable::Holder holder{connection_.id(), app_name_, connection_.peer().process_id};
    const Result<> acquired = leases.acquire(id, std::move(holder));
    if (!acquired) return refuse(header, acquired.error());
  }
  struct Outcome {
    Result<> removed;
    bool is_there = false;  // also where its key could not be destroyed it may be gone
  };
  const auto run = [id, destroy](Store& store) {
    Outcome outcome;
    outcome.removed = destroy ? store.destroy_session(id) : store.remove_session(id);
    outcome.is_there = !outcome.removed && store.find_session(id).has_value();
    return outcome;
  };
  submit(0, run, [header, id](Conversation& self, const Outcome& outcome) {
    if (!outcome.is_there) {
      if (self.open_.erase(id) > 0) release_hold(self.host_, self.store_, id);
      self.take_uploads_of(id);  // the store has aborted their records
    }
    if (!self.open_.contains(id)) self.host_.leases().release(id, self.connection_.id());
    if (!outcome.removed) return self.refuse(header, outcome.removed.error());
    self.answer_done(header);
  });
}

void Conversation::on_attach(const Header& header, const wire::Attach& request) {
  const SessionId id = wire::from_wire(*request.session_id());
  if (const Result<> open = require_open(id); !open) return refuse(header, open.error());
  const auto run = [id, expected = request.commit_number()](Store& store) -> Result<Attachment> {
    KVAULT_TRY(Attachment session, store.attach(id));
    if (expected != 0 && session.info.commit_number != expected) {
      return fail(Errc::conflict, message("session ", session.info.name, " is at commit ",
                                          session.info.commit_number, ", no longer at ", expected));
    }
    return session;
  };
  const auto done = [header, first = request.first_record()](Conversation& self,
                                                             const Attachment& session) {
    self.answer(header, [&](Builder& builder) { return to_wire(builder, session, first); });
  };
  submit_request(header, run, done);
}

Result<> Conversation::require_open(const SessionId& session) const {
  if (open_.contains(session)) return {};
  return fail(Errc::invalid_argument,
              message("session ", to_hex(session), " is not open on this connection"));
}

Result<> Conversation::require_lease(const SessionId& session) const {
  const auto entry = open_.find(session);
  if (entry != open_.end() && entry->second) return {};
  return fail(Errc::invalid_argument,
              message("session ", to_hex(session), " is not open for writing on this connection"));
}

}  // namespace kvault
