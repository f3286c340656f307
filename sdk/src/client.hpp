#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "core/format/namespace_name.hpp"
#include "sdk/src/client_types.hpp"
#include "sdk/src/frame_channel.hpp"
#include "sdk/src/wire_convert.hpp"

namespace kvault {

/// Whose sessions a client sees; sdk/schema/kvault_wire.fbs, Hello.
struct NamespaceOptions {
  std::string name;  ///< empty: the shared one
  SecretKey token;
  NamespaceCreation create = NamespaceCreation::none;
};

struct ClientOptions {
  std::filesystem::path socket_path;     ///< empty: the default for the data directory
  std::filesystem::path data_directory;  ///< empty: the user's default
  std::filesystem::path daemon_path;     ///< empty: $KVAULTD, beside library or program, PATH
  std::string app_name = "app";
  NamespaceOptions name_space{};
  bool auto_start = true;  ///< start kvaultd where none answers
  std::uint32_t connect_timeout_ms = 10'000;
  std::uint32_t request_timeout_ms = 30'000;  ///< the longest silence of the daemon
  std::uint32_t idle_exit_s = 600;            ///< of a kvaultd that is started
};

/// A connection to kvaultd; calls block. Move-only; one thread at a time; no event loop, no thread,
/// no signal of the host is touched.
///
/// Errors of the daemon arrive with its code and words. Errc::unreachable, disconnected, timeout,
/// protocol and version speak of the connection; after any of them but unreachable the connection
/// is closed, its leases go back, and all calls answer disconnected: connect anew.
class Client {
 public:
  static Result<Client> connect(const ClientOptions& options);
  Client(Client&&) noexcept = default;
  Client& operator=(Client&&) noexcept = default;

  /// Connects anew, with the options of connect(), after the connection has ended. No session is
  /// open then, and records that were put are gone.
  Result<> reconnect();

  /// False once the connection has ended.
  bool is_connected() const noexcept { return channel_.is_open(); }
  /// Whether what this client stores is sealed.
  bool is_encrypted() const noexcept { return is_encrypted_; }
  const std::filesystem::path& data_directory() const noexcept { return data_directory_; }
  /// New at every start of the daemon.
  const std::string& server_id() const noexcept { return server_id_; }

  Result<client::Pong> ping();
  Result<client::Stats> stats();
  /// One session by name or id, or all, one after the other.
  Result<client::VerifyReport> verify(std::optional<std::string_view> name_or_id);
  /// verify(), and takes a damaged session back to the newest position before the damage.
  /// Errc::busy while it is open somewhere.
  Result<client::VerifyReport> repair(std::string_view name_or_id);
  /// Returns when the daemon has taken the order; it ends once its work is done.
  Result<> shutdown();
  /// Removes the namespace this client is in with all that is in it, durably; of an encrypted one
  /// every key is destroyed. The connection ends with it. Errc::busy while others are in it;
  /// invalid_argument for the shared one.
  Result<> remove_namespace();

  /// Where the connection ends before the answer comes, it and fork_session() connect anew and ask
  /// again.
  Result<client::Session> create_session(const SessionDescription& description);
  /// With `offered`, its identity and shape must be the session's (its name is not compared); a
  /// writer must give it. Errc::not_found, identity_mismatch, busy.
  Result<client::Session> open_session(std::string_view name_or_id,
                                       const SessionDescription* offered, client::OpenMode mode);
  /// Gives the lease back, and drops records that were put and not committed.
  Result<> close_session(const SessionId& session);
  /// Whether this connection has opened it and not closed it: one that looks at a session for a
  /// moment must not close what another user of the connection has open.
  bool has_open(const SessionId& session) const { return open_sessions_.contains(session); }
  /// Whether what is put to this session, which is open, is sealed.
  bool seals(const SessionId& session) const { return keys_.contains(session); }
  Result<std::vector<client::SessionInfo>> list();
  Result<client::Session> inspect(std::string_view name_or_id);
  Result<> delete_session(std::string_view name_or_id);
  /// The same, and its key is destroyed when it returns. Errc::unsupported where the namespace is
  /// not encrypted, busy where forks share the key.
  Result<> destroy_session(std::string_view name_or_id);
  Result<client::Session> update_session(std::string_view name_or_id,
                                         const client::SessionChange& change);
  /// A new session of the first n_token tokens of another, or fewer, which shares its records.
  Result<client::Fork> fork_session(std::string_view name_or_id, std::uint64_t n_token,
                                    std::string_view name);
  /// Which session of this identity and shape begins most like these tokens. At most the first
  /// client::kMatchTokensMax of them are looked at.
  Result<client::Match> match(const SessionDescription& description,
                              std::span<const std::uint32_t> token_ids);
  /// pre: the session is open. Errc::conflict where a writer was faster, time and again.
  Result<client::Attachment> attach(const SessionId& session);

  /// Sends a record to a session open for writing. Records are made one at a time: when this
  /// returns, the bytes are sent, and the daemon's answer may still be under way; a refusal comes
  /// with a later put_record() or with commit(). An error drops all records put to the session.
  Result<> put_record(const SessionId& session, const client::RecordUpload& upload,
                      const client::Progress& progress = {});
  /// Commits the records put since the last commit. Durable when it returns; whether it succeeds
  /// or not, no record is left over.
  Result<client::CommitInfo> commit(const SessionId& session, const client::CommitRequest& request,
                                    const RequestKey& key = client::new_request_key());
  /// put_record() for each, then commit(). `progress` counts the payload of all.
  Result<client::CommitInfo> commit(const SessionId& session, const client::CommitRequest& request,
                                    std::span<const client::RecordUpload> records,
                                    const client::Progress& progress = {});
  /// Drops records that were put and not committed.
  Result<> drop_records(const SessionId& session);

 private:
  /// A record that was put, by its request id.
  struct PutRecord {
    SessionId session;
    bool is_answered = false;
    std::optional<Error> refusal;
  };

  Client(FrameChannel channel, ClientOptions options)
      : options_(std::move(options)), channel_(std::move(channel)) {}

  static Result<Client> connect_once(const ClientOptions& options, Deadline deadline);
  Result<> say_hello();
  wire::FrameHeader next_header(wire::MessageType type, std::uint64_t patience_ms = 0);
  /// Sends a request and waits for its answer; a refusal is the error. patience 0: as connected.
  template <class Make>
  Result<IncomingFrame> request(wire::MessageType type, Make make,
                                std::chrono::milliseconds patience = {});
  /// request() of something done once at most however often it is asked for; connects anew once.
  template <class Make>
  Result<IncomingFrame> request_once(wire::MessageType type, Make make);
  Result<> remove(std::string_view name_or_id, bool destroy);
  Result<IncomingFrame> wait_for_answer(const wire::FrameHeader& header,
                                        std::chrono::milliseconds patience);
  /// Takes one frame; credit and answers to records are dealt with, anything else is returned.
  Result<std::optional<IncomingFrame>> take_frame(std::chrono::milliseconds patience);
  Result<> send_payload(std::uint64_t record, PayloadReader& reader,
                        const client::Progress& progress);
  /// The first refusal of a record of the session, if one has come.
  Result<> check_refusals(const SessionId& session) const;
  std::vector<std::uint64_t> records_of(const SessionId& session) const;
  std::size_t n_unanswered() const;
  /// Drops the session's records, then returns `error`.
  tl::unexpected<Error> give_up(const SessionId& session, Error error);
  Result<> verify_one(const std::string& session, bool repair, client::VerifyReport& total);
  Result<IncomingFrame> attach_page(const SessionId& session, std::uint32_t first,
                                    std::uint64_t commit_number);
  Result<client::Attachment> attach_once(const SessionId& session);

  ClientOptions options_;
  FrameChannel channel_;
  std::filesystem::path data_directory_;
  std::string server_id_;
  std::uint16_t version_ = 0;
  std::uint64_t next_request_id_ = 1;
  std::uint64_t credit_bytes_ = 0;
  std::uint64_t data_frame_bytes_ = 0;
  std::uint32_t n_request_max_ = 1;
  std::uint32_t n_record_pending_max_ = 0;
  std::map<std::uint64_t, PutRecord> put_records_;  ///< by request id
  std::set<SessionId> open_sessions_;
  std::map<SessionId, SessionKey> keys_;  ///< of those, in an encrypted namespace
  bool is_encrypted_ = false;
};

template <class Make>
Result<IncomingFrame> Client::request(wire::MessageType type, Make make,
                                      std::chrono::milliseconds patience) {
  const std::chrono::milliseconds longest = patience.count() > 0 ? patience : channel_.patience();
  // After that we have hung up, and nobody waits.
  const wire::FrameHeader header = next_header(type, static_cast<std::uint64_t>(longest.count()));
  KVAULT_TRY(const wire::Frame frame, wire::make_message(header, std::move(make)));
  KVAULT_CHECK(channel_.send(frame));
  return wait_for_answer(header, patience);
}

template <class Make>
Result<IncomingFrame> Client::request_once(wire::MessageType type, Make make) {
  const wire::RequestKey key = wire::to_wire(client::new_request_key());
  const auto with_key = [&](flatbuffers::FlatBufferBuilder& builder) {
    return make(builder, &key);
  };
  Result<IncomingFrame> answer = request(type, with_key);
  if (answer || answer.error().code != Errc::disconnected) return answer;
  if (!reconnect()) return answer;  // the first error is the one to tell
  return request(type, with_key);
}

}  // namespace kvault
