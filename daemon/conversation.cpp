#include "daemon/conversation.hpp"

#include <algorithm>

#include "core/seal/wiped_bytes.hpp"
#include "daemon/session_lookup.hpp"

namespace kvault {
namespace {

using wire::MessageType;

}  // namespace

void Conversation::on_frame(const Header& header, Body& body) {
  if (!has_greeted()) {
    greet(header, body);
    wipe_stack();  // the token was there
  } else if (is_entering_) {
    say_goodbye(Error{Errc::protocol, "a frame before the answer to Hello"});
  } else if (header.version != version_) {
    say_goodbye(Error{Errc::protocol, message("a frame of protocol version ", header.version,
                                              " on a connection of version ", version_)});
  } else if (header.request_id == 0) {
    say_goodbye(Error{Errc::protocol, "a request has the id 0"});
  } else {
    dispatch(header, body);
  }
  update_reading();
}

void Conversation::update_reading() {
  if (!is_halted_ && n_waiting_ < wire::kRequestsMax && waiting_bytes_ < wire::kWaitingBytesMax &&
      connection_.queued_output_bytes() < wire::kOutputBytesMax) {
    connection_.resume_reading();
  } else {
    connection_.pause_reading();
  }
}

void Conversation::dispatch(const Header& header, Body& body) {
  switch (header.type) {
    case MessageType::ping:
      return on_ping(header);
    case MessageType::cancel:
      return with(header, body, &Conversation::on_cancel);
    case MessageType::shutdown:
      return on_shutdown(header);
    case MessageType::stats:
      return on_stats(header);
    case MessageType::verify_session:
      return with(header, body, &Conversation::on_verify);
    case MessageType::remove_namespace:
      return with(header, body, &Conversation::on_remove_namespace);
    case MessageType::create_session:
      return with(header, body, &Conversation::on_create);
    case MessageType::open_session:
      return with(header, body, &Conversation::on_open);
    case MessageType::close_session:
      return with(header, body, &Conversation::on_close_session);
    case MessageType::list_sessions:
      return with(header, body, &Conversation::on_list);
    case MessageType::inspect_session:
      return with(header, body, &Conversation::on_inspect);
    case MessageType::delete_session:
      return with(header, body, &Conversation::on_delete);
    case MessageType::update_session:
      return with(header, body, &Conversation::on_update);
    case MessageType::fork_session:
      return with(header, body, &Conversation::on_fork);
    case MessageType::match_prefix:
      return with(header, body, &Conversation::on_match);
    case MessageType::begin_record:
      return with(header, body, &Conversation::on_begin);
    case MessageType::data:
      return on_data(header, body);
    case MessageType::abort_record:
      return with(header, body, &Conversation::on_abort);
    case MessageType::commit:
      return with(header, body, &Conversation::on_commit);
    case MessageType::attach:
      return with(header, body, &Conversation::on_attach);
    case MessageType::hello:
      return refuse(header, Error{Errc::protocol, "Hello was said before"});
    case MessageType::credit:
    case MessageType::none:
      break;
  }
  refuse(header, Error{Errc::protocol, message("a request of the unknown type ",
                                               static_cast<unsigned>(header.type))});
}

void Conversation::on_ping(const Header& header) {
  answer(header, [this](flatbuffers::FlatBufferBuilder& builder) {
    return wire::CreatePong(builder, host_.uptime_s(), host_.n_connection());
  });
}

void Conversation::on_cancel(const Header& header, const wire::Cancel& request) {
  const auto entry = requests_.find(request.request());
  if (entry != requests_.end()) entry->second->cancel();
  answer_done(header);
}

std::shared_ptr<RequestState> Conversation::track(const Header& request) {
  return std::make_shared<RequestState>(request.payload_offset);
}

void Conversation::on_shutdown(const Header& header) {
  answer_done(header);
  host_.stop();
}

void Conversation::on_stats(const Header& header) {
  struct Answer {
    StoreStats stats;
    std::vector<NamespaceUse> namespaces;
  };
  const auto run = [number = store_](Stores& stores) -> Result<Answer> {
    KVAULT_TRY(const StoreStats stats, stores.at(number).stats());
    return Answer{stats, stores.uses()};
  };
  const std::shared_ptr<RequestState> state = track(header);
  submit_turn(header, state, in_time(state, run), [header](Conversation& self, const Answer& all) {
    const StoreStats& stats = all.stats;
    self.answer(header, [&](flatbuffers::FlatBufferBuilder& builder) {
      std::vector<flatbuffers::Offset<wire::NamespaceUse>> uses;
      for (const NamespaceUse& use : all.namespaces) {
        const auto name = builder.CreateString(use.name);
        uses.push_back(wire::CreateNamespaceUse(builder, name, use.size_bytes, use.n_client));
      }
      const auto namespaces = builder.CreateVector(uses);
      const auto n_task = static_cast<std::uint32_t>(self.host_.storage().n_pending());
      const StoreCounters& done = stats.counters;
      return wire::CreateStatsOk(
          builder, stats.n_session, stats.n_record, stats.n_pending_record, stats.n_pack,
          stats.live_bytes, stats.pack_bytes, self.host_.n_connection(), n_task, stats.disk_bytes,
          stats.quota_bytes, self.host_.uptime_s(), done.n_commit, done.written_bytes,
          done.n_evicted, done.n_expired, done.n_pack_deleted, done.n_compaction, done.moved_bytes,
          done.n_damage, namespaces);
    });
  });
}

/// What others wait for at most while a session is verified.
constexpr std::uint64_t kVerifyBytesPerTurn = std::uint64_t{32} << 20U;

void Conversation::on_verify(const Header& header, const wire::VerifySession& request) {
  auto job = std::make_shared<Verification>();
  job->session = request.session()->str();
  job->state = track(header);
  if (!request.repair()) return verify(header, std::move(job));
  const auto run = [text = job->session](Store& store) -> Result<VerifyReport> {
    KVAULT_TRY(const SessionInfo info, find_session(store, text));
    return store.repair(info.id);
  };
  submit_request(header, run, [header](Conversation& self, const VerifyReport& report) {
    self.answer_verified(header, report);
  });
}

/// One turn of it, then the next, as long as the client is there and waits.
void Conversation::verify(const Header& header, std::shared_ptr<Verification> job) {
  if (host_.is_stopping()) return refuse(header, Error{Errc::cancelled, "kvaultd is ending"});
  const auto run = [job](Store& store) -> Result<bool> {
    if (!job->id) {
      KVAULT_TRY(const SessionInfo info, find_session(store, job->session));
      job->id = info.id;
    }
    return store.verify_part(*job->id, job->cursor, kVerifyBytesPerTurn, job->report);
  };
  const auto done = [header, job](Conversation& self, bool is_done) {
    if (!is_done) return self.verify(header, job);
    self.answer_verified(header, job->report);
  };
  submit_turn(header, job->state, on_store(store_, in_time(job->state, run)), done);
}

void Conversation::answer_verified(const Header& header, const VerifyReport& report) {
  answer(header, [&](flatbuffers::FlatBufferBuilder& builder) {
    std::vector<flatbuffers::Offset<flatbuffers::String>> damage;
    for (const std::string& sentence : report.damage) {
      if (damage.size() == wire::kDamagePerReport) break;
      const std::size_t size = std::min<std::size_t>(sentence.size(), 1024);
      damage.push_back(builder.CreateString(sentence.data(), size));
    }
    const auto sentences = builder.CreateVector(damage);
    return wire::CreateVerifySessionOk(builder, report.n_record, report.bytes, report.damage.size(),
                                       sentences);
  });
}

void Conversation::release_hold(ConversationHost& host, StoreNumber store,
                                const SessionId& session) {
  const auto run = [store, session](Stores& stores) {
    // Closed meanwhile: its holds went with it.
    if (Store* open = stores.find(store)) open->release(session);
    return true;
  };
  host.storage().submit(run, [](bool) {});
}

void Conversation::refuse(const Header& request, const Error& error) {
  connection_.send(wire::make_refusal(request, error));
}

void Conversation::answer_done(const Header& request) {
  answer(request,
         [](flatbuffers::FlatBufferBuilder& builder) { return wire::CreateDone(builder); });
}

void Conversation::say_goodbye(const Error& error) {
  const Header header{.version = version_};
  connection_.send(wire::make_refusal(header, error));
  connection_.close_after_output();
}

void Conversation::on_closed() {
  if (uploads_.empty() && open_.empty() && !host_.leases().is_holder(connection_.id())) {
    return leave(host_, store_);
  }
  std::vector<SharedUpload> dropped;
  for (auto& [id, upload] : uploads_) dropped.push_back(std::move(upload));
  uploads_.clear();
  for (const auto& [session, write] : open_) release_hold(host_, store_, session);
  open_.clear();
  // The leases go after what the client had asked for is done, so that the next writer sees it.
  auto run = [store = store_, dropped = std::move(dropped)](Stores& stores) {
    Store* const open = stores.find(store);
    if (open == nullptr) return true;  // it was removed, and what was dropped with it
    for (const SharedUpload& upload : dropped) {
      // An abort that fails leaves bytes that no commit names: nothing anybody could do about.
      if (upload->handle) (void)open->abort_record(*upload->handle);
    }
    return true;
  };
  auto finish = [&host = host_, id = connection_.id()](bool) { host.leases().release_all(id); };
  host_.storage().submit(std::move(run), std::move(finish));
  leave(host_, store_);
}

}  // namespace kvault
