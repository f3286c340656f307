#include <algorithm>
#include <string_view>

#include "core/seal/wiped_bytes.hpp"
#include "daemon/conversation.hpp"
#include "sdk/src/wire_convert.hpp"

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

Result<NamespaceRequest> namespace_from(const wire::Hello& hello) {
  NamespaceRequest request;
  if (hello.namespace_name() == nullptr || hello.namespace_name()->size() == 0) {
    if (hello.token() == nullptr && hello.create() == 0) return request;
    return fail(Errc::invalid_argument, "a token, or the wish for a namespace, without its name");
  }
  request.name = hello.namespace_name()->str();
  if (hello.token() == nullptr) {
    return fail(Errc::permission, message("namespace '", request.name, "' asks for a token"));
  }
  KVAULT_TRY(request.token, wire::from_wire(*hello.token()));
  if (hello.create() > static_cast<unsigned>(NamespaceCreation::encrypted)) {
    return fail(Errc::invalid_argument,
                message("create is ", unsigned{hello.create()}, "; it is 0, 1 or 2"));
  }
  request.create = static_cast<NamespaceCreation>(hello.create());
  return request;
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

void Conversation::greet(const Header& header, const Body& body) {
  NamespaceRequest wanted;
  const auto attempt = [&]() -> Result<> {
    if (header.type != MessageType::hello || header.version != 0 || header.request_id == 0) {
      return fail(Errc::protocol, "the first frame must be Hello, of version 0, with a request id");
    }
    KVAULT_TRY(const wire::Hello* hello, wire::verified<wire::Hello>(body));
    const std::string_view app_name(hello->app_name()->data(), hello->app_name()->size());
    KVAULT_CHECK(check_app_name(app_name));
    KVAULT_TRY(wanted, namespace_from(*hello));
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
  if (wanted.name.empty()) return answer_greeting(header);
  enter(header, std::move(wanted));
}

/// Opens the namespace's store, or joins those who have it open.
void Conversation::enter(const Header& header, NamespaceRequest request) {
  is_entering_ = true;
  namespace_name_ = request.name;
  auto run = [request = std::move(request)](Stores& stores) {
    Result<EnteredNamespace> entered = stores.enter(request);
    wipe_stack();
    return entered;
  };
  auto finish = [&host = host_, id = connection_.id(), header,
                 name = namespace_name_](const Result<EnteredNamespace>& entered) {
    if (entered && entered->opened) host.log_opening(name, *entered->opened);
    Conversation* self = host.find(id);
    if (self == nullptr) {
      if (entered) leave(host, entered->store);
      return;
    }
    self->is_entering_ = false;
    if (!entered) {
      self->refuse(header, entered.error());
      self->connection_.close_after_output();
      return;
    }
    self->store_ = entered->store;
    self->is_encrypted_ = entered->is_encrypted;
    self->answer_greeting(header);
  };
  host_.storage().submit(std::move(run), std::move(finish));
}

void Conversation::leave(ConversationHost& host, StoreNumber store) {
  if (store == kSharedStore) return;
  const auto run = [store](Stores& stores) {
    stores.leave(store);
    return true;
  };
  host.storage().submit(run, [](bool) {});
}

/// The connection is in the namespace, and so has shown its token; it ends with it.
void Conversation::on_remove_namespace(const Header& header,
                                       const wire::RemoveNamespace& /*request*/) {
  if (store_ == kSharedStore) {
    return refuse(header, Error{Errc::invalid_argument, "the shared namespace cannot be removed"});
  }
  if (n_waiting_ > 0) {
    return refuse(header, Error{Errc::busy, message(n_waiting_,
                                                    " requests of this connection are "
                                                    "under way in the namespace")});
  }
  struct Outcome {
    Result<> removed;
    bool is_open = true;  // where its files cannot be removed it is closed all the same
  };
  const auto run = [store = store_, state = track(header)](Stores& stores) {
    Outcome outcome;
    outcome.removed = state->check();
    if (outcome.removed) outcome.removed = stores.remove(store);
    outcome.is_open = stores.find(store) != nullptr;
    return outcome;
  };
  is_halted_ = true;
  submit_to_all(header.body_size, run, [header](Conversation& self, const Outcome& outcome) {
    self.is_halted_ = false;
    if (outcome.removed) {
      self.answer_done(header);
    } else {
      self.refuse(header, outcome.removed.error());
    }
    if (outcome.is_open) return;
    // Holds and pending records went with the store.
    self.uploads_.clear();
    self.open_.clear();
    self.connection_.close_after_output();
  });
}

void Conversation::answer_greeting(const Header& header) {
  answer(header, [this](flatbuffers::FlatBufferBuilder& builder) {
    const auto server_id = builder.CreateString(host_.server_id());
    const auto server_version = builder.CreateString(KVAULT_VERSION_STRING);
    const auto data_directory = builder.CreateString(host_.data_directory());
    const auto namespace_name = builder.CreateString(namespace_name_);
    return wire::CreateHelloOk(builder, version_, server_id, server_version, data_directory,
                               wire::kBodySizeMax, wire::kCreditBytes, wire::kRequestsMax,
                               wire::kSessionsOpenMax, wire::kRecordsPendingMax, 0, namespace_name,
                               is_encrypted_);
  });
}

}  // namespace kvault
