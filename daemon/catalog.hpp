#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "daemon/catalog_seal.hpp"
#include "daemon/session_state.hpp"
#include "daemon/sqlite.hpp"

namespace kvault {

/// A session without its records.
struct SessionRow {
  SessionId id;
  SessionId family;  ///< SessionState::family
  std::string name;
  std::uint64_t commit_number = 0;
  std::uint64_t n_token = 0;
  std::uint64_t n_page = 0;
  std::uint64_t created_at_s = 0;
  std::uint64_t committed_at_s = 0;
  std::uint64_t last_used_at_s = 0;
  SessionAttributes attributes;
  PrefixKey root_prefix{};
  CommitPlace place;
  std::uint64_t record_bytes = 0;  ///< of the live records; the commit record comes on top
  std::uint64_t n_record = 0;
};

/// What the catalog knows of a pack.
struct PackUse {
  PackName name;
  std::uint64_t end_bytes = 0;   ///< one past the last live byte
  std::uint64_t live_bytes = 0;  ///< of records that some session names, each counted once
};

struct CatalogTotals {
  std::uint64_t n_session = 0;
  std::uint64_t n_record = 0;    ///< each counted once, whoever shares it
  std::uint64_t live_bytes = 0;  ///< of these, and of the newest commit records
};

/// Packs numbered below these stay, whatever the catalog knows of them: a rebuild found damage.
struct HeldPacks {
  std::uint32_t log_number = 0;
  std::uint32_t pages_number = 0;
};

/// The newest commit of every session, in SQLite: a cache of the commit records in the log packs.
/// Every change is one durable transaction. One thread at a time.
class Catalog {
 public:
  /// Opens or creates. Errc::corrupt: damaged, or of a version this build does not know; rebuild
  /// it. A new catalog, or one whose making was cut short, has is_empty().
  static Result<Catalog> open(const std::filesystem::path& path, CatalogSeal seal = {});

  /// Whether fill() never succeeded.
  bool is_empty() const { return is_empty_; }
  /// Whether an older kvaultd wrote it: nothing of it can be read, rebuild it.
  bool is_outdated() const { return is_outdated_; }
  /// Makes the tables and puts `sessions` into them, at once. pre: is_empty()
  Result<> fill(const std::vector<SessionState>& sessions, std::uint64_t epoch, HeldPacks held);
  /// Counts how often a store was opened; durable when it returns.
  Result<std::uint64_t> begin_epoch();
  Result<std::uint64_t> epoch();
  Result<HeldPacks> held_packs();

  Result<> insert(const SessionState& session);
  /// Rows that differ are replaced. pre: all of them are here.
  Result<> update(const std::vector<SessionState>& sessions);
  /// With its family's last session of an encrypted store the family's key is doomed, at once.
  Result<> remove(const SessionId& id);
  /// Families whose keys are to be destroyed, until forget_key().
  Result<std::vector<SessionId>> doomed_keys();
  Result<> forget_key(const SessionId& family);
  /// When sessions were last used, seconds since 1970; unknown ones are passed over.
  Result<> touch(const std::map<SessionId, std::uint64_t>& used_at_s);

  Result<std::optional<SessionRow>> find(const SessionId& id);
  Result<std::optional<SessionRow>> find_by_name(std::string_view name);
  /// By name, or in a sealed catalog by the hash of the name.
  Result<std::vector<SessionRow>> list(std::string_view after_name, std::uint64_t limit);
  /// The least recently used first.
  Result<std::vector<SessionRow>> list_by_use();
  Result<std::vector<SessionId>> expired(std::uint64_t now_s);
  /// Errc::not_found where there is no such session.
  Result<SessionState> load(const SessionId& id);
  Result<SessionDescription> description(const SessionId& id);
  Result<SessionId> family(const SessionId& id);
  Result<std::uint64_t> n_session_of_family(const SessionId& family);
  Result<CatalogTotals> totals();
  /// Packs that hold something live.
  Result<std::vector<PackUse>> pack_uses();

  /// Sessions that own a page of this prefix, the last used first.
  Result<std::vector<SessionId>> sessions_with_prefix(const PrefixKey& prefix, std::uint64_t limit);
  /// Sessions of a model (root_prefix()) that have no sealed page, the last used first.
  Result<std::vector<SessionId>> sessions_without_pages(const PrefixKey& root, std::uint64_t limit);
  /// A page with these bytes, if there is one.
  Result<std::optional<LiveRecord>> find_content(const ContentKey& content);
  /// Sessions that name a record in this pack, or whose newest commit lies there.
  Result<std::vector<SessionId>> sessions_in_pack(PackName pack);

  /// Moves the log of changes into the database and empties it.
  Result<> checkpoint();

 private:
  Catalog(sqlite::Database database, CatalogSeal seal)
      : database_(std::move(database)), seal_(std::move(seal)) {}
  Result<SessionRow> row_from(const sqlite::Statement& statement) const;
  Result<std::vector<SessionRow>> all_rows(sqlite::Statement& statement) const;
  Result<std::optional<SessionRow>> one_row(sqlite::Statement& statement) const;
  Result<> put_session(const SessionState& session);
  Result<> put_records(const SessionState& session);
  Result<> drop_other_records(const SessionState& session);

  sqlite::Database database_;
  CatalogSeal seal_;
  bool is_empty_ = false;
  bool is_outdated_ = false;
};

}  // namespace kvault
