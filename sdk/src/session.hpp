#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/result.hpp"
#include "core/cache/cache.hpp"
#include "core/format/description.hpp"
#include "sdk/src/client.hpp"
#include "sdk/src/session_save.hpp"

namespace kvault {

/// How to open a session.
struct SessionOptions {
  SessionDescription description;
  CacheOptions cache;
  bool create = false;
  bool copy = false;
  /// Layers are loaded one by one, each when it is asked for or first used.
  bool stream = false;
  std::uint32_t deadline_ms = 0;  ///< of the whole restore, counted from open(); 0: none
  client::Progress progress;
};

/// What a save did. Bytes are kvaultd's to tell: 0 where its answer was lost and the save was found
/// done.
struct SaveInfo {
  std::uint64_t commit_number = 0;
  std::uint64_t n_token = 0;
  std::uint64_t n_page = 0;
  std::uint64_t written_bytes = 0;
  std::uint64_t raw_bytes = 0;
  std::uint64_t coded_bytes = 0;
  std::uint64_t shared_bytes = 0;
};

/// A cache with a home on disk. Holds the session's writing lease on its client, which is borrowed
/// and outlives it. One thread at a time.
class StoredCache {
 public:
  /// Opens (or creates) the session and restores its cache as of the last acknowledged save, or
  /// with `stream` reads what it consists of. Errc::cancelled and timeout change nothing stored.
  static Result<std::unique_ptr<StoredCache>> open(Client& client, Device& device,
                                                   SessionOptions options);
  StoredCache(const StoredCache&) = delete;
  StoredCache& operator=(const StoredCache&) = delete;
  /// Gives the lease back; saves nothing.
  ~StoredCache();

  Cache& cache() { return cache_; }
  const client::SessionInfo& info() const { return info_; }
  /// info() with its size on disk asked for anew after a save; as of before where kvaultd does not
  /// answer.
  const client::SessionInfo& refreshed_info();
  std::span<const std::uint32_t> token_ids() const { return token_ids_; }

  /// Saves everything since the last save. new_token_ids: of tokens [token_ids().size(),
  /// cache().n_token()). Durable when it returns; on failure the saved state is the one before and
  /// the save may be tried again. Where the connection ends meanwhile (kvaultd was upgraded, say)
  /// it connects anew and goes on; what the daemon had done by then is not done twice.
  Result<SaveInfo> save(std::span<const std::uint32_t> new_token_ids);
  Result<Kept> rollback(Tokens n_token);
  /// Loads what of a streamed session is not loaded: one layer, or all.
  Result<> load_layer(LayerIndex layer) { return cache_.load_layer(layer); }
  Result<> load_all() { return cache_.load_all(); }

 private:
  StoredCache(Client& client, SessionDescription description, Cache cache, client::SessionInfo info,
              client::Progress progress)
      : client_(client),
        description_(std::move(description)),
        cache_(std::move(cache)),
        info_(std::move(info)),
        progress_(std::move(progress)),
        kept_{info_.n_token, info_.n_page} {}

  Result<> check_save(std::size_t n_new_id) const;
  /// A part of the cache that is on the disk.
  struct Stored {
    std::uint64_t n_token = 0;
    std::uint64_t n_page = 0;
  };
  /// A commit that nobody has answered.
  struct Attempt {
    RequestKey key{};
    Stored limit;  ///< what of it is still part of the cache, if it was made
    std::uint64_t n_page_written = 0;
  };
  static void cut(Stored& stored, std::uint64_t n_token, std::uint64_t n_page);
  Result<SaveInfo> save_once(const std::vector<std::uint32_t>& all_ids);
  /// How many pages it wrote, if it was made.
  Result<std::optional<std::uint64_t>> settle_attempt(std::span<const std::uint32_t> all_ids);
  /// Whether the saved state is what is in the cache.
  bool is_saved() const;
  /// Takes the lease again, after the client has connected anew.
  Result<> reopen();
  Result<> put(const OutgoingRecord& record);
  Result<std::uint64_t> put_records(std::span<const std::uint32_t> all_ids);

  Client& client_;
  SessionDescription description_;
  Cache cache_;
  client::SessionInfo info_;
  bool is_size_stale_ = false;  ///< live_bytes is as of before a save
  client::Progress progress_;
  std::vector<std::uint32_t> token_ids_;
  Stored kept_;  ///< what of the saved state is still part of the cache
  std::optional<Attempt> attempt_;
};

}  // namespace kvault
