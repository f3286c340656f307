#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "core/base/result.hpp"
#include "core/format/description.hpp"
#include "core/format/pack_header.hpp"
#include "core/format/record.hpp"
#include "daemon/sqlite.hpp"

namespace kvault {

/// Where a commit record lies, and which one it is.
struct CommitPlace {
  std::uint32_t pack_number = 0;
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  std::uint64_t transaction = 0;
  std::uint64_t checksum = 0;
  friend bool operator==(const CommitPlace&, const CommitPlace&) = default;
};

/// A session without its records.
struct SessionRow {
  SessionId id;
  std::string name;
  std::uint64_t commit_number = 0;
  std::uint64_t n_token = 0;
  std::uint64_t n_page = 0;
  std::uint64_t created_at_s = 0;
  std::uint64_t committed_at_s = 0;
  CommitPlace place;
  std::uint64_t record_bytes = 0;  ///< of the live records; the commit record comes on top
};

/// What a session's newest commit record says, and where it lies.
struct SessionState {
  SessionId id{};
  std::uint64_t commit_number = 0;
  CommitPlace place{};
  CommitMeta meta{};
};

/// One past the last byte that the catalog knows of a pack.
struct PackUse {
  PackName name;
  std::uint64_t end_bytes = 0;
};

struct CatalogTotals {
  std::uint64_t n_session = 0;
  std::uint64_t n_record = 0;
  std::uint64_t live_bytes = 0;
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
  /// Opens or creates. Errc::corrupt: damaged, or of another version; rebuild it. A new catalog, or
  /// one whose making was cut short, has is_empty().
  static Result<Catalog> open(const std::filesystem::path& path);

  /// Whether fill() never succeeded.
  bool is_empty() const { return is_empty_; }
  /// Makes the tables and puts `sessions` into them, at once. pre: is_empty()
  Result<> fill(const std::vector<SessionState>& sessions, std::uint64_t epoch, HeldPacks held);
  /// Counts how often a store was opened; durable when it returns.
  Result<std::uint64_t> begin_epoch();
  Result<std::uint64_t> epoch();
  Result<HeldPacks> held_packs();

  Result<> insert(const SessionState& session);
  /// pre: `before` is what the catalog holds.
  Result<> update(const SessionState& before, const SessionState& after);
  Result<> remove(const SessionId& id);

  Result<std::optional<SessionRow>> find(const SessionId& id);
  Result<std::optional<SessionRow>> find_by_name(std::string_view name);
  Result<std::vector<SessionRow>> list(std::string_view after_name, std::uint64_t limit);
  /// Errc::not_found where there is no such session.
  Result<SessionState> load(const SessionId& id);
  Result<SessionDescription> description(const SessionId& id);
  Result<CatalogTotals> totals();
  /// Packs that hold something live.
  Result<std::vector<PackUse>> pack_uses();

 private:
  Catalog(sqlite::Database database, bool is_empty)
      : database_(std::move(database)), is_empty_(is_empty) {}
  Result<> put_session(const SessionState& session);
  Result<> put_record(const SessionId& id, const LiveRecord& record);
  Result<> drop_record(const LiveRecord& record);

  sqlite::Database database_;
  bool is_empty_;
};

}  // namespace kvault
