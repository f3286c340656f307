#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "daemon/connection.hpp"
#include "daemon/lease_table.hpp"
#include "daemon/request_state.hpp"
#include "daemon/storage_thread.hpp"

namespace kvault {

class Conversation;

/// What conversations share and ask of the server. Loop thread only.
class ConversationHost {
 public:
  virtual ~ConversationHost() = default;
  virtual StorageThread& storage() = 0;
  virtual LeaseTable& leases() = 0;
  /// Null where the client is gone.
  virtual Conversation* find(ConnectionId id) = 0;
  virtual const std::string& server_id() const = 0;
  virtual const std::string& data_directory() const = 0;
  virtual std::uint64_t uptime_s() const = 0;
  virtual std::uint32_t n_connection() const = 0;
  virtual void log_greeting(const Connection& connection, const std::string& app_name) = 0;
  virtual void log_opening(const std::string& namespace_name, const OpenReport& report) = 0;
  /// Ends the daemon once what is queued is done.
  virtual void stop() = 0;
  virtual bool is_stopping() const = 0;
};

/// What one client has said so far, and the answers to it: handshake, open sessions, uploads,
/// credit. Understands frames; leaves everything that touches the disk to the storage thread, in
/// the order it was asked. Loop thread only.
class Conversation {
 public:
  Conversation(Connection& connection, ConversationHost& host)
      : connection_(connection), host_(host) {}

  void on_frame(const wire::FrameHeader& header, std::vector<std::byte>& body);
  /// Reads on, or waits until the client has taken output and the storage thread has caught up.
  void update_reading();
  /// Tells the client why, and ends the connection.
  void say_goodbye(const Error& error);
  /// The connection is over: drops what was not committed, then gives the leases back.
  void on_closed();

  /// Whether the client has said Hello, answered or not.
  bool has_greeted() const noexcept { return version_ != 0; }

 private:
  using Body = std::vector<std::byte>;
  using Header = wire::FrameHeader;

  /// A record between BeginRecord and its commit. Tasks of the storage thread share it with this
  /// conversation: `handle` is theirs alone, the rest never changes.
  struct Upload {
    SessionId session;
    std::uint64_t payload_bytes = 0;
    std::optional<RecordHandle> handle;
  };
  using SharedUpload = std::shared_ptr<Upload>;
  /// A session that is being verified, turn by turn. Its task and this conversation take turns too.
  struct Verification {
    std::string session;
    std::optional<SessionId> id;
    VerifyCursor cursor;
    VerifyReport report;
    std::shared_ptr<RequestState> state;
  };
  /// The record whose data frames are coming in; `upload` is null once it is refused.
  struct Incoming {
    Header request;
    std::uint64_t payload_bytes = 0;
    std::uint64_t received_bytes = 0;
    SharedUpload upload;
  };

  void greet(const Header& header, const Body& body);
  void enter(const Header& header, NamespaceRequest request);
  void answer_greeting(const Header& header);
  void dispatch(const Header& header, Body& body);
  void on_ping(const Header& header);
  void on_cancel(const Header& header, const wire::Cancel& request);
  void on_shutdown(const Header& header);
  void on_remove_namespace(const Header& header, const wire::RemoveNamespace& request);
  void on_stats(const Header& header);
  void on_verify(const Header& header, const wire::VerifySession& request);
  void verify(const Header& header, std::shared_ptr<Verification> job);
  void answer_verified(const Header& header, const VerifyReport& report);

  void on_create(const Header& header, const wire::CreateSession& request);
  void on_open(const Header& header, const wire::OpenSession& request);
  void open(const Header& header, const DescribedSession& session, bool write);
  void remove(const Header& header, const SessionId& id, bool destroy);
  void on_close_session(const Header& header, const wire::CloseSession& request);
  void close(const Header& header, const SessionId& id);
  void on_list(const Header& header, const wire::ListSessions& request);
  void on_inspect(const Header& header, const wire::InspectSession& request);
  void on_delete(const Header& header, const wire::DeleteSession& request);
  void on_update(const Header& header, const wire::UpdateSession& request);
  void on_fork(const Header& header, const wire::ForkSession& request);
  void on_match(const Header& header, const wire::MatchPrefix& request);
  void on_attach(const Header& header, const wire::Attach& request);

  void on_begin(const Header& header, const wire::BeginRecord& request);
  Result<SharedUpload> begin(const Header& header, const wire::BeginRecord& request);
  void on_data(const Header& header, Body& body);
  void write_data(Body body, bool is_last);
  void on_written(const Header& request, std::uint64_t size, bool is_last, Result<> result);
  void refuse_upload(const Header& request, const Error& error);
  void on_abort(const Header& header, const wire::AbortRecord& request);
  void abort(const Header& header, std::uint64_t record);
  void on_commit(const Header& header, const wire::Commit& request);
  /// The uploads a commit names, taken out of uploads_; they are used up also where it fails.
  Result<std::vector<SharedUpload>> take_uploads(const wire::Commit& request);
  std::vector<SharedUpload> take_uploads_of(const SessionId& session);

  Result<> require_open(const SessionId& session) const;
  Result<> require_lease(const SessionId& session) const;

  void refuse(const Header& request, const Error& error);
  void answer_done(const Header& request);
  template <class Make>
  void answer(const Header& request, Make make);
  /// The request's root table goes to `handle`; a body that is none is refused.
  template <class Table>
  void with(const Header& header, const Body& body,
            void (Conversation::*handle)(const Header&, const Table&));
  /// What submit_to_all() does with a result that nobody is there for.
  struct Forget {
    template <class Value>
    void operator()(const Value&) const {}
  };
  /// `run(store)` on the storage thread; `done(self, result)` here, if the client is still there.
  /// `bytes` is what the task holds of the client's data.
  template <class Run, class Done>
  void submit(std::uint64_t bytes, Run run, Done done);
  /// The same for what concerns more than this client's store: `run(stores)`. gone(result): where
  /// the client is not there any more.
  template <class Run, class Done, class Gone = Forget>
  void submit_to_all(std::uint64_t bytes, Run run, Done done, Gone gone = {});
  /// `run` of this client's store, as a task of the storage thread.
  template <class Run>
  static auto on_store(StoreNumber number, Run run) {
    return
        [number, run = std::move(run)](Stores& stores) mutable { return run(stores.at(number)); };
  }
  /// Gives back what Store::hold() took, once what was asked before is done.
  static void release_hold(ConversationHost& host, StoreNumber store, const SessionId& session);
  /// Gives back what Stores::enter() took, likewise.
  static void leave(ConversationHost& host, StoreNumber store);
  /// `run(where)` of a request, refused where nobody waits for its answer any more when its turn
  /// has come. Every request that goes to the storage thread goes through here.
  template <class Run>
  static auto in_time(std::shared_ptr<RequestState> state, Run run);
  /// Likewise for a request: an error of `run` is its refusal, a value goes to `done(self, value)`.
  template <class Run, class Done>
  void submit_request(const Header& request, Run run, Done done);
  /// The same for a request that changes what the frames behind it mean: they are not read before
  /// its turn has come, and `done(self)` has run.
  template <class Done>
  void submit_barrier(const Header& request, Done done);
  std::shared_ptr<RequestState> track(const Header& request);
  /// A turn of a request that track() was called for: `run(stores)`.
  template <class Run, class Done, class Gone = Forget>
  void submit_turn(const Header& request, std::shared_ptr<RequestState> state, Run run, Done done,
                   Gone gone = {});

  Connection& connection_;
  ConversationHost& host_;
  std::uint16_t version_ = 0;  ///< 0 before the handshake
  std::string app_name_;
  std::string namespace_name_;  ///< "": the shared one
  bool is_encrypted_ = false;
  bool is_entering_ = false;  ///< the answer to Hello is under way
  bool is_halted_ = false;    ///< by submit_barrier()
  StoreNumber store_ = kSharedStore;

  std::map<SessionId, bool> open_;                 ///< session -> for writing
  std::map<std::uint64_t, SharedUpload> uploads_;  ///< by request id of BeginRecord
  std::optional<Incoming> incoming_;
  std::uint64_t credit_bytes_ = wire::kCreditBytes;

  std::map<std::uint64_t, std::shared_ptr<RequestState>> requests_;  ///< under way, by id
  std::uint32_t n_waiting_ = 0;  ///< tasks of this client that are not done
  std::uint64_t waiting_bytes_ = 0;
};

template <class Make>
void Conversation::answer(const Header& request, Make make) {
  Header header = request;
  header.flags = wire::kFlagReply;
  header.payload_offset = 0;
  Result<wire::Frame> frame = wire::make_message(header, std::move(make));
  connection_.send(frame ? std::move(*frame) : wire::make_refusal(request, frame.error()));
}

template <class Table>
void Conversation::with(const Header& header, const Body& body,
                        void (Conversation::*handle)(const Header&, const Table&)) {
  const Result<const Table*> request = wire::verified<Table>(body);
  if (request) {
    (this->*handle)(header, **request);
  } else {
    refuse(header, request.error());
  }
}

template <class Run, class Done>
void Conversation::submit(std::uint64_t bytes, Run run, Done done) {
  submit_to_all(bytes, on_store(store_, std::move(run)), std::move(done));
}

template <class Run, class Done, class Gone>
void Conversation::submit_to_all(std::uint64_t bytes, Run run, Done done, Gone gone) {
  ++n_waiting_;
  waiting_bytes_ += bytes;
  auto finish = [&host = host_, id = connection_.id(), bytes, done = std::move(done),
                 gone = std::move(gone)](auto result) mutable {
    Conversation* self = host.find(id);
    if (self == nullptr) return gone(result);
    --self->n_waiting_;
    self->waiting_bytes_ -= bytes;
    done(*self, std::move(result));
    self->update_reading();
  };
  host_.storage().submit(std::move(run), std::move(finish));
}

template <class Run>
auto Conversation::in_time(std::shared_ptr<RequestState> state, Run run) {
  return [state = std::move(state), run = std::move(run)](
             auto& where) mutable -> std::invoke_result_t<Run&, decltype(where)> {
    KVAULT_CHECK(state->check());
    return run(where);
  };
}

template <class Run, class Done>
void Conversation::submit_request(const Header& request, Run run, Done done) {
  const std::shared_ptr<RequestState> state = track(request);
  submit_turn(request, state, on_store(store_, in_time(state, std::move(run))), std::move(done));
}

template <class Done>
void Conversation::submit_barrier(const Header& request, Done done) {
  is_halted_ = true;
  const std::shared_ptr<RequestState> state = track(request);
  const auto nothing = [](Stores&) -> Result<bool> { return true; };
  submit_to_all(request.body_size, in_time(state, nothing),
                [request, done = std::move(done)](Conversation& self, const Result<bool>& turn) {
                  self.is_halted_ = false;
                  if (!turn) return self.refuse(request, turn.error());
                  done(self);
                });
}

template <class Run, class Done, class Gone>
void Conversation::submit_turn(const Header& request, std::shared_ptr<RequestState> state, Run run,
                               Done done, Gone gone) {
  requests_[request.request_id] = state;
  auto settle = [request, state, done = std::move(done)](Conversation& self, auto result) mutable {
    const auto entry = self.requests_.find(request.request_id);
    // A client may use an id twice; the later request is the one it can cancel.
    if (entry != self.requests_.end() && entry->second == state) self.requests_.erase(entry);
    if (result) {
      done(self, std::move(*result));
    } else {
      self.refuse(request, result.error());
    }
  };
  submit_to_all(request.body_size, std::move(run), std::move(settle), std::move(gone));
}

}  // namespace kvault
