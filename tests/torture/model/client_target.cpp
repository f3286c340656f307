#include "tests/torture/model/client_target.hpp"

namespace kvault::torture {
namespace {

/// The pieces of an upload are the chunks' bytes; what lies between them the client fills in.
std::vector<std::span<const std::byte>> pieces_of(const Upload& upload) {
  std::vector<std::span<const std::byte>> pieces;
  for (const Chunk& chunk : upload.draft.meta.chunks) {
    pieces.push_back(std::span(upload.payload).subspan(chunk.offset_bytes, chunk.size_bytes));
  }
  return pieces;
}

}  // namespace

Result<> ClientTarget::connect(std::uint32_t patience_ms) {
  client_.reset();
  KVAULT_TRY(client_, daemon_->connect(patience_ms));
  return {};
}

Result<SessionId> ClientTarget::create(const SessionDescription& description) {
  KVAULT_TRY(const client::Session session, client_->create_session(description));
  KVAULT_CHECK(client_->close_session(session.info.id));
  return session.info.id;
}

Result<> ClientTarget::remove(const SessionTruth& session) {
  return client_->delete_session(to_hex(*session.id));
}

Result<> ClientTarget::open(const SessionTruth& session) {
  KVAULT_CHECK(
      client_->open_session(to_hex(*session.id), &session.description, client::OpenMode::write));
  return {};
}

Result<> ClientTarget::commit(const SessionTruth& session, const CommitPlan& plan) {
  KVAULT_CHECK(open(session));
  std::vector<std::vector<std::span<const std::byte>>> pieces;
  for (const Upload& upload : plan.uploads) pieces.push_back(pieces_of(upload));
  std::vector<client::RecordUpload> uploads;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    uploads.push_back({.draft = plan.uploads[i].draft, .pieces = pieces[i]});
  }
  const Result<client::CommitInfo> info =
      client_->commit(*session.id,
                      {.expected_commit_number = plan.expected_commit_number,
                       .n_token = plan.n_token(),
                       .kept_n_token = plan.kept_n_token,
                       .kept_n_page = plan.kept_n_page},
                      uploads);
  const Result<> closed = client_->close_session(*session.id);
  if (!info) return tl::unexpected<Error>(info.error());
  // Once the commit is acknowledged it is, whatever becomes of the connection.
  static_cast<void>(closed.has_value());
  return {};
}

Result<> ClientTarget::abandon(const SessionTruth& session, const std::vector<Upload>& uploads) {
  KVAULT_CHECK(open(session));
  for (const Upload& upload : uploads) {
    const auto pieces = pieces_of(upload);
    KVAULT_CHECK(client_->put_record(*session.id, {.draft = upload.draft, .pieces = pieces}));
  }
  return client_->close_session(*session.id);
}

Result<> ClientTarget::reopen() { return connect(); }

Result<std::vector<ServedSession>> ClientTarget::served() {
  std::vector<ServedSession> sessions;
  KVAULT_TRY(const std::vector<client::SessionInfo> infos, client_->list());
  for (const client::SessionInfo& info : infos) {
    const std::string id = to_hex(info.id);
    KVAULT_CHECK(client_->open_session(id, nullptr, client::OpenMode::read));
    KVAULT_TRY(const client::Attachment attachment, client_->attach(info.id));
    KVAULT_CHECK(client_->close_session(info.id));
    ServedSession session{.id = info.id,
                          .description = attachment.description,
                          .commit_number = attachment.info.commit_number,
                          .n_token = attachment.info.n_token,
                          .n_page = attachment.info.n_page,
                          .attributes = attachment.info.attributes,
                          .records = {},
                          .key = attachment.key};
    session.description.name = info.name;
    session.attributes.made_by = {};  // the SDK's own, which no truth knows
    for (const client::RecordPlace& record : attachment.records) {
      session.records.push_back({record.kind, record.pack_path, record.offset_bytes,
                                 record.length_bytes, record.first_token, record.n_token,
                                 record.checksum});
    }
    sessions.push_back(std::move(session));
  }
  return sessions;
}

Result<std::vector<std::string>> ClientTarget::verify() {
  KVAULT_TRY(const client::VerifyReport report, client_->verify(std::nullopt));
  return report.damage;
}

}  // namespace kvault::torture
