#include "tests/torture/model/store_target.hpp"

#include <algorithm>

namespace kvault::torture {

Result<> StoreTarget::open() {
  StoreOptions options;
  options.directory = directory_;
  options.pack_size_bytes_max = kPackSizeMax;
  options.quota_bytes = quota_bytes_;
  options.other_bytes = [bytes = other_bytes_] { return bytes; };
  if (is_encrypted_) options.secret = test_secret();
  KVAULT_TRY(store_, Store::open(std::move(options)));
  return {};
}

/// A reopening that failed is tried again by whoever comes next.
Result<> StoreTarget::ready() { return store_ ? Result<>() : open(); }

Result<SessionId> StoreTarget::create(const SessionDescription& description) {
  KVAULT_CHECK(ready());
  KVAULT_TRY(const SessionInfo info, store_->create_session(description));
  return info.id;
}

Result<> StoreTarget::remove(const SessionTruth& session) {
  KVAULT_CHECK(ready());
  return store_->remove_session(*session.id);
}

Result<RecordHandle> StoreTarget::send(const SessionId& session, const Upload& plain) {
  KVAULT_TRY(const std::optional<SessionKey> key, store_->key_of(session));
  const Upload upload = key ? sealed(*key, plain) : plain;
  KVAULT_TRY(const RecordHandle handle, store_->begin_record(session, upload.draft));
  const std::span<const std::byte> payload(upload.payload);
  const std::size_t half = payload.size() / 2;
  KVAULT_CHECK(store_->write_payload(handle, 0, payload.first(half)));
  KVAULT_CHECK(store_->write_payload(handle, half, payload.subspan(half)));
  KVAULT_CHECK(store_->finish_record(handle));
  return handle;
}

Result<> StoreTarget::commit(const SessionTruth& session, const CommitPlan& plan) {
  KVAULT_CHECK(ready());
  CommitRequest request{.expected_commit_number = plan.expected_commit_number,
                        .n_token = plan.n_token(),
                        .kept_n_token = plan.kept_n_token,
                        .kept_n_page = plan.kept_n_page};
  for (const Upload& upload : plan.uploads) {
    KVAULT_TRY(const RecordHandle handle, send(*session.id, upload));
    request.records.push_back(handle);
  }
  KVAULT_CHECK(store_->commit(*session.id, request));
  return {};
}

Result<> StoreTarget::abandon(const SessionTruth& session, const std::vector<Upload>& uploads) {
  KVAULT_CHECK(ready());
  for (const Upload& upload : uploads) {
    KVAULT_TRY(const RecordHandle handle, send(*session.id, upload));
    if (upload.draft.n_token % 2 == 0) KVAULT_CHECK(store_->abort_record(handle));
  }
  return {};
}

Result<> StoreTarget::reopen() {
  close();
  return open();
}

Result<> StoreTarget::reopen_without_catalog() {
  close();
  for (const char* file : {"catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"}) {
    std::error_code ignored;
    std::filesystem::remove(directory_ / file, ignored);
  }
  return open();
}

Result<std::vector<ServedSession>> StoreTarget::served() {
  KVAULT_CHECK(ready());
  std::vector<ServedSession> sessions;
  KVAULT_TRY(const std::vector<SessionInfo> infos, store_->list_sessions("", 100'000));
  for (const SessionInfo& info : infos) {
    KVAULT_TRY(const Attachment attachment, store_->attach(info.id));
    ServedSession session{.id = info.id,
                          .description = attachment.description,
                          .commit_number = attachment.info.commit_number,
                          .n_token = attachment.info.n_token,
                          .n_page = attachment.info.n_page,
                          .attributes = attachment.info.attributes,
                          .records = {}};
    KVAULT_TRY(session.key, store_->key_of(info.id));
    // The name that lists say is the one that clients go by.
    session.description.name = info.name;
    for (const RecordLocation& record : attachment.records) {
      session.records.push_back({record.kind, record.pack_path, record.offset_bytes,
                                 record.length_bytes, record.first_token, record.n_token,
                                 record.checksum});
    }
    sessions.push_back(std::move(session));
  }
  return sessions;
}

Result<std::vector<std::string>> StoreTarget::verify() {
  KVAULT_CHECK(ready());
  KVAULT_TRY(const VerifyReport report, store_->verify(std::nullopt));
  return report.damage;
}

}  // namespace kvault::torture
