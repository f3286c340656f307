#include "sdk/src/session_import.hpp"

#include <chrono>
#include <random>
#include <utility>

#include "sdk/src/session_file.hpp"

namespace kvault {
namespace {

/// How long a session stays whose import was killed.
constexpr std::uint64_t kUnfinishedSeconds = 24 * 3600;

std::uint64_t seconds_since_1970() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::seconds>(since).count());
}

std::string unfinished_name() {
  std::random_device random;
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string name = "unfinished import ";
  for (int i = 0; i < 16; ++i) name += kDigits[random() & 15U];
  return name;
}

Result<> require_free(Client& client, const std::string& name) {
  KVAULT_CHECK(check_session_name(name));
  const Result<client::Session> session = client.inspect(name);
  if (session && session->info.name == name) {
    return fail(Errc::already_exists, message("there is a session '", name, "' already"));
  }
  if (session || session.error().code == Errc::not_found) return {};
  return tl::unexpected(session.error());
}

/// What update_session() makes of an unfinished session at the end.
client::SessionChange last_change(const CommitMeta& meta, const std::string& name) {
  const SessionAttributes& attributes = meta.attributes;
  const bool has_passed = attributes.expires_at_s <= seconds_since_1970();
  return {.name = name,
          .labels = attributes.labels,
          .is_pinned = attributes.is_pinned,
          .expires_at_s = has_passed ? 0 : attributes.expires_at_s};
}

class SessionImporter {
 public:
  SessionImporter(Client& client, const SessionFile& file, const client::Progress& progress)
      : client_(client), file_(file), progress_(progress) {}

  Result<> verify() {
    for (const LiveRecord& live : file_.meta().records) {
      KVAULT_CHECK(report(0));
      KVAULT_CHECK(file_.read(live));
      done_bytes_ += live.length_bytes;
    }
    return {};
  }

  Result<client::SessionInfo> create(const std::string& name) {
    SessionDescription description = file_.meta().description;
    description.name = unfinished_name();
    KVAULT_TRY(const client::Session created, client_.create_session(description));
    const SessionId id = created.info.id;
    Result<client::SessionInfo> info = fill(id, description, name);
    if (client_.has_open(id)) static_cast<void>(client_.close_session(id));
    // The first error is the one to tell; the session expires where this fails too.
    if (!info) static_cast<void>(client_.delete_session(to_hex(id)));
    return info;
  }

 private:
  Result<client::SessionInfo> fill(const SessionId& id, const SessionDescription& description,
                                   const std::string& name) {
    const std::string id_text = to_hex(id);
    KVAULT_CHECK(client_.update_session(
        id_text, {.expires_at_s = seconds_since_1970() + kUnfinishedSeconds}));
    KVAULT_CHECK(client_.open_session(id_text, &description, client::OpenMode::write));
    KVAULT_CHECK(send(id));
    KVAULT_TRY(client::Session session,
               client_.update_session(id_text, last_change(file_.meta(), name)));
    return std::move(session.info);
  }

  Result<> send(const SessionId& id) {
    const CommitMeta& meta = file_.meta();
    if (meta.records.empty() && meta.n_token == 0) return {};
    for (const LiveRecord& live : meta.records) {
      KVAULT_TRY(const SessionFile::Record record, file_.read(live));
      const auto part = [this](std::uint64_t sent, std::uint64_t) { return tell(sent); };
      KVAULT_CHECK(client_.put_record(id, record.upload(), part));
      done_bytes_ += live.length_bytes;
    }
    KVAULT_TRY(const client::CommitInfo commit, client_.commit(id, {.n_token = meta.n_token}));
    if (commit.n_page == meta.n_page) return {};
    return fail(Errc::corrupt, message("the file's commit says ", meta.n_page,
                                       " pages, its records are ", commit.n_page));
  }

  bool tell(std::uint64_t more_bytes) const {
    return !progress_ || progress_(done_bytes_ + more_bytes, 2 * file_.size_bytes());
  }
  Result<> report(std::uint64_t more_bytes) const {
    if (tell(more_bytes)) return {};
    return fail(Errc::cancelled, message("cancelled at byte ", done_bytes_ + more_bytes, " of ",
                                         2 * file_.size_bytes()));
  }

  Client& client_;
  const SessionFile& file_;
  const client::Progress& progress_;
  std::uint64_t done_bytes_ = 0;
};

}  // namespace

Result<client::SessionInfo> import_session(Client& client, const std::filesystem::path& path,
                                           const std::optional<std::string>& new_name,
                                           const client::Progress& progress) {
  KVAULT_TRY(const SessionFile file, SessionFile::open(path));
  const std::string name = new_name.value_or(file.meta().description.name);
  KVAULT_CHECK(require_free(client, name));
  SessionImporter importer(client, file, progress);
  KVAULT_CHECK(importer.verify());
  return importer.create(name);
}

}  // namespace kvault
