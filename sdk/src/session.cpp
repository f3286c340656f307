#include "sdk/src/session.hpp"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "sdk/src/session_load.hpp"
#include "sdk/src/session_save.hpp"

namespace kvault {
namespace {

Result<client::Session> open_or_create(Client& client, const SessionOptions& options) {
  const SessionDescription& description = options.description;
  Result<client::Session> session =
      client.open_session(description.name, &description, client::OpenMode::write);
  if (session || session.error().code != Errc::not_found || !options.create) return session;
  KVAULT_TRY(const client::Session created, client.create_session(description));
  return client.open_session(to_hex(created.info.id), &description, client::OpenMode::write);
}

/// How often a reader asks again where the records are because kvaultd has moved them.
constexpr int kAttemptsMax = 8;

bool has_moved(const Error& error) {
  return error.code == Errc::not_found || error.code == Errc::busy;
}

Result<SessionIndex> read_index(Client& client, const SessionId& id, const Cache& cache,
                                bool copies) {
  for (int attempt = 1;; ++attempt) {
    KVAULT_TRY(client::Attachment attachment, client.attach(id));
    Result<SessionIndex> index = SessionIndex::read(cache, std::move(attachment), copies);
    if (index || !has_moved(index.error())) return index;
    if (attempt == kAttemptsMax) {
      return fail(Errc::corrupt, message("a pack that the session needs cannot be read, asked for ",
                                         attempt, " times: ", index.error().message));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(attempt));
  }
}

}  // namespace

Result<std::unique_ptr<StoredCache>> StoredCache::open(Client& client, Device& device,
                                                       SessionOptions options) {
  RestoreMeter meter(options.progress, options.deadline_ms);
  KVAULT_CHECK(check(options.cache));
  KVAULT_CHECK(check_description(options.description));
  KVAULT_TRY(const client::Session session, open_or_create(client, options));
  const SessionId id = session.info.id;
  const auto restore = [&]() -> Result<std::unique_ptr<StoredCache>> {
    KVAULT_TRY(Cache cache, Cache::create_empty(device, std::move(options.cache)));
    KVAULT_TRY(SessionIndex index, read_index(client, id, cache, options.copy));
    const client::SessionInfo info = index.info();
    std::vector<std::uint32_t> token_ids = index.take_token_ids();
    KVAULT_CHECK(cache.set_source(
        std::make_unique<SessionLoader>(cache, device, std::move(index), std::move(meter))));
    if (!options.stream) KVAULT_CHECK(cache.load_all());
    std::unique_ptr<StoredCache> stored(
        new StoredCache(client, options.description, std::move(cache), info, options.progress));
    stored->token_ids_ = std::move(token_ids);
    return stored;
  };
  Result<std::unique_ptr<StoredCache>> stored = restore();
  // The lease is given back at once, not only when the connection ends.
  if (!stored) static_cast<void>(client.close_session(id));
  return stored;
}

StoredCache::~StoredCache() { static_cast<void>(client_.close_session(info_.id)); }

Result<> StoredCache::check_save(std::size_t n_new_id) const {
  const std::uint64_t n_token = cache_.n_token().raw;
  if (!cache_.is_level()) {
    return fail(Errc::incomplete, message("layers stand at different positions, the least at ",
                                          n_token, " tokens: save between steps of the model"));
  }
  if (token_ids_.size() + n_new_id != n_token) {
    return fail(Errc::shape_mismatch,
                message(n_new_id, " token ids for the ", n_token - token_ids_.size(),
                        " tokens since token ", token_ids_.size()));
  }
  return {};
}

Result<SaveInfo> StoredCache::save(std::span<const std::uint32_t> new_token_ids) {
  KVAULT_CHECK(check_save(new_token_ids.size()));
  // Layers are level, so that only those without new tokens can still be on the disk alone.
  if (cache_.n_token().raw != kept_.n_token) KVAULT_CHECK(cache_.load_all());
  std::vector<std::uint32_t> all_ids(token_ids_);
  all_ids.insert(all_ids.end(), new_token_ids.begin(), new_token_ids.end());
  Result<SaveInfo> saved = save_once(all_ids);
  if (saved || saved.error().code != Errc::disconnected) return saved;
  if (!client_.reconnect()) return saved;  // the first error is the one to tell
  return save_once(all_ids);
}

Result<> StoredCache::reopen() {
  if (client_.has_open(info_.id)) return {};
  KVAULT_CHECK(client_.open_session(to_hex(info_.id), &description_, client::OpenMode::write));
  return {};
}

/// A commit does not say what the session takes then, and few ask.
const client::SessionInfo& StoredCache::refreshed_info() {
  if (!is_size_stale_) return info_;
  const Result<client::Session> session = client_.inspect(to_hex(info_.id));
  if (!session) return info_;
  info_.live_bytes = session->info.live_bytes;
  is_size_stale_ = false;
  return info_;
}

/// Finds out what became of a save whose answer never came, and takes it for done if it was.
Result<std::optional<std::uint64_t>> StoredCache::settle_attempt(
    std::span<const std::uint32_t> all_ids) {
  if (!attempt_) return std::nullopt;
  KVAULT_TRY(const client::Session session, client_.inspect(to_hex(info_.id)));
  const Attempt attempt = *std::exchange(attempt_, std::nullopt);
  if (session.info.attributes.made_by != attempt.key) return std::nullopt;
  info_ = session.info;
  // What was rolled back since does not count.
  kept_.n_token = std::min(info_.n_token, attempt.limit.n_token);
  kept_.n_page = std::min(info_.n_page, attempt.limit.n_page);
  token_ids_.assign(all_ids.begin(), all_ids.begin() + static_cast<std::ptrdiff_t>(kept_.n_token));
  return attempt.n_page_written;
}

bool StoredCache::is_saved() const {
  const std::uint64_t n_token = cache_.n_token().raw;
  return info_.n_token == n_token && kept_.n_token == n_token && kept_.n_page == info_.n_page;
}

Result<SaveInfo> StoredCache::save_once(const std::vector<std::uint32_t>& all_ids) {
  KVAULT_CHECK(reopen());
  KVAULT_TRY(const std::optional<std::uint64_t> n_page_made, settle_attempt(all_ids));
  if (n_page_made && is_saved()) {
    cache_.keep_states();
    return SaveInfo{info_.commit_number, info_.n_token, *n_page_made};
  }
  const Result<std::uint64_t> n_page_written = put_records(all_ids);
  if (!n_page_written) {
    static_cast<void>(client_.drop_records(info_.id));  // what was sent must not join a later save
    return tl::unexpected(n_page_written.error());
  }
  attempt_ = Attempt{client::new_request_key(), {UINT64_MAX, UINT64_MAX}, *n_page_written};
  const Result<client::CommitInfo> commit =
      client_.commit(info_.id,
                     {.expected_commit_number = info_.commit_number,
                      .n_token = all_ids.size(),
                      .kept_n_token = kept_.n_token,
                      .kept_n_page = kept_.n_page},
                     attempt_->key);
  // A refusal says that nothing was done; where the connection ended nobody knows.
  if (commit || client_.is_connected()) attempt_.reset();
  if (!commit) return tl::unexpected(commit.error());
  info_.commit_number = commit->commit_number;
  info_.n_token = commit->n_token;
  info_.n_page = commit->n_page;
  is_size_stale_ = true;
  kept_ = {commit->n_token, commit->n_page};
  token_ids_ = all_ids;
  cache_.keep_states();
  return SaveInfo{commit->commit_number, commit->n_token,   *n_page_written,
                  commit->bytes_written, commit->raw_bytes, commit->coded_bytes,
                  commit->shared_bytes};
}

Result<> StoredCache::put(const OutgoingRecord& record) {
  const std::vector<std::span<const std::byte>> pieces = record.pieces();
  return client_.put_record(info_.id, {record.draft, pieces}, progress_);
}

/// Sends new pages, new tail rows and recurrent states; returns how many pages.
Result<std::uint64_t> StoredCache::put_records(std::span<const std::uint32_t> all_ids) {
  SessionSaver saver(cache_, all_ids, !client_.seals(info_.id));
  const std::uint64_t n_page = saver.n_page();
  for (std::uint64_t page = kept_.n_page; page < n_page; ++page) {
    KVAULT_TRY(const OutgoingRecord record, saver.page(page));
    KVAULT_CHECK(put(record));
  }
  const std::uint64_t first = saver.first_tail_token(kept_.n_token);
  if (first < all_ids.size()) {
    KVAULT_TRY(const OutgoingRecord record, saver.tail(first));
    KVAULT_CHECK(put(record));
  }
  if (saver.has_recurrent_layer() && kept_.n_token != all_ids.size()) {
    KVAULT_TRY(const OutgoingRecord record, saver.snapshot());
    KVAULT_CHECK(put(record));
  }
  return n_page - std::min(n_page, kept_.n_page);
}

void StoredCache::cut(Stored& stored, std::uint64_t n_token, std::uint64_t n_page) {
  const std::uint64_t n_page_before = stored.n_page;
  stored.n_page = std::min(stored.n_page, n_page);
  stored.n_token = std::min(stored.n_token, n_token);
  // Rows of a page that is whole no more may be in its record alone: the next save writes them.
  if (stored.n_page < n_page_before) {
    stored.n_token = std::min(stored.n_token, stored.n_page * kPageTokens);
  }
}

Result<Kept> StoredCache::rollback(Tokens n_token) {
  KVAULT_TRY(const Kept kept, cache_.rollback(n_token));
  const std::uint64_t n = kept.n_token.raw;
  // The first page is raw in its record as in the cache: it stays as long as it is whole.
  const std::uint64_t n_first = std::min<std::uint64_t>(1, n / kPageTokens);
  const std::uint64_t n_page = std::max(cache_.n_sealed_page(), n_first);
  cut(kept_, n, n_page);
  if (attempt_) cut(attempt_->limit, n, n_page);
  if (token_ids_.size() > n) token_ids_.resize(n);
  return kept;
}

}  // namespace kvault
