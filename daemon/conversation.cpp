#include "daemon/conversation.hpp"

#include <algorithm>
#include <string_view>

#include "daemon/session_lookup.hpp"

namespace kvault {
namespace {

using wire::MessageType;

/// A name that may appear in a log line.
Result<> check_app_name(std::string_view name) {
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; };
  if (name.empty() || name.size() > wire::kAppNameSizeMax ||
      std::any_of(name.begin(), name.end(), is_control)) {
    return fail(Errc::invalid_argument,
                message("the app's name has ", name.size(), " bytes; it must have 1 to ",
                        wire::kAppNameSizeMax, " without control characters"));
  }
  return {};
}

/// The highest version both sides speak.
Result<std::uint16_t> agree_on_version(std::uint32_t proto_min, std::uint32_t proto_max) {
  const std::uint32_t version = std::min(proto_max, wire::kProtocolMax);
  if (proto_min > proto_max || version < std::max(proto_min, wire::kProtocolMin)) {
    return fail(Errc::version,
                message("the app speaks protocol versions ", proto_min, " to ", proto_max,
                        ", kvaultd ", wire::kProtocolMin, " to ", wire::kProtocolMax));
  }
  return static_cast<std::uint16_t>(version);
}

}  // namespace

void Conversation::on_frame(const Header& header, Body& body) {
  if (!has_greeted()) {
    greet(header, body);
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
  if (n_waiting_ < wire::kRequestsMax && waiting_bytes_ < wire::kWaitingBytesMax &&
      connection_.queued_output_bytes() < wire::kOutputBytesMax) {
    connection_.resume_reading();
  } else {
    connection_.pause_reading();
  }
}

void Conversation::greet(const Header& header, const Body& body) {
  const auto attempt = [&]() -> Result<> {
    if (header.type != MessageType::hello || header.version != 0 || header.request_id == 0) {
      return fail(Errc::protocol, "the first frame must be Hello, of version 0, with a request id");
    }
    KVAULT_TRY(const wire::Hello* hello, wire::verified<wire::Hello>(body));
    const std::string_view app_name(hello->app_name()->data(), hello->app_name()->size());
    KVAULT_CHECK(check_app_name(app_name));
    KVAULT_TRY(version_, agree_on_version(hello->proto_min(), hello->proto_max()));
    app_name_ = app_name;
    return {};
  };
  if (const Result<> greeted = attempt(); !greeted) {
    refuse(header, greeted.error());
    connection_.close_after_output();
    return;
  }
  host_.log_greeting(connection_, app_name_);
  answer(header, [this](flatbuffers::FlatBufferBuilder& builder) {
    const auto server_id = builder.CreateString(host_.server_id());
    const auto server_version = builder.CreateString(KVAULT_VERSION_STRING);
    const auto data_directory = builder.CreateString(host_.data_directory());
    return wire::CreateHelloOk(builder, version_, server_id, server_version, data_directory,
                               wire::kBodySizeMax, wire::kCreditBytes, wire::kRequestsMax,
                               wire::kSessionsOpenMax, wire::kRecordsPendingMax);
  });
}

void Conversation::dispatch(const Header& header, Body& body) {
  switch (header.type) {
    case MessageType::ping:
      return on_ping(header);
    case MessageType::shutdown:
      return on_shutdown(header);
    case MessageType::stats:
      return on_stats(header);
    case MessageType::verify_session:
      return with(header, body, &Conversation::on_verify);
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

void Conversation::on_shutdown(const Header& header) {
  answer_done(header);
  host_.stop();
}

void Conversation::on_stats(const Header& header) {
  const auto run = [](Store& store) { return store.stats(); };
  submit_request(header, run, [header](Conversation& self, const StoreStats& stats) {
    self.answer(header, [&](flatbuffers::FlatBufferBuilder& builder) {
      const auto n_task = static_cast<std::uint32_t>(self.host_.storage().n_pending());
      const StoreCounters& done = stats.counters;
      return wire::CreateStatsOk(
          builder, stats.n_session, stats.n_record, stats.n_pending_record, stats.n_pack,
          stats.live_bytes, stats.pack_bytes, self.host_.n_connection(), n_task, stats.disk_bytes,
          stats.quota_bytes, self.host_.uptime_s(), done.n_commit, done.written_bytes,
          done.n_evicted, done.n_expired, done.n_pack_deleted, done.n_compaction, done.moved_bytes,
          done.n_damage);
    });
  });
}

void Conversation::on_verify(const Header& header, const wire::VerifySession& request) {
  const auto run = [text = request.session()->str(),
                    repair = request.repair()](Store& store) -> Result<VerifyReport> {
    KVAULT_TRY(const SessionInfo info, find_session(store, text));
    return repair ? store.repair(info.id) : store.verify(info.id);
  };
  submit_request(header, run, [header](Conversation& self, const VerifyReport& report) {
    self.answer(header, [&](flatbuffers::FlatBufferBuilder& builder) {
      std::vector<flatbuffers::Offset<flatbuffers::String>> damage;
      for (const std::string& sentence : report.damage) {
        if (damage.size() == wire::kDamagePerReport) break;
        const std::size_t size = std::min<std::size_t>(sentence.size(), 1024);
        damage.push_back(builder.CreateString(sentence.data(), size));
      }
      const auto sentences = builder.CreateVector(damage);
      return wire::CreateVerifySessionOk(builder, report.n_record, report.bytes,
                                         report.damage.size(), sentences);
    });
  });
}

void Conversation::release_hold(ConversationHost& host, const SessionId& session) {
  const auto run = [session](Store& store) {
    store.release(session);
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
  if (uploads_.empty() && open_.empty() && !host_.leases().is_holder(connection_.id())) return;
  std::vector<SharedUpload> dropped;
  for (auto& [id, upload] : uploads_) dropped.push_back(std::move(upload));
  uploads_.clear();
  for (const auto& [session, write] : open_) release_hold(host_, session);
  open_.clear();
  // The leases go after what the client had asked for is done, so that the next writer sees it.
  auto run = [dropped = std::move(dropped)](Store& store) {
    for (const SharedUpload& upload : dropped) {
      // An abort that fails leaves bytes that no commit names: nothing anybody could do about.
      if (upload->handle) (void)store.abort_record(*upload->handle);
    }
    return true;
  };
  auto finish = [&host = host_, id = connection_.id()](bool) { host.leases().release_all(id); };
  host_.storage().submit(std::move(run), std::move(finish));
}

}  // namespace kvault
