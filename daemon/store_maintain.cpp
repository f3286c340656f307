#include <algorithm>
#include <filesystem>
#include <system_error>

#include "daemon/clock.hpp"
#include "daemon/dead_packs.hpp"
#include "daemon/disk_store.hpp"

namespace kvault {
namespace {

/// maintain() empties a pack of which so much is dead.
constexpr double kDeadShare = 0.5;
/// What one call of maintain() moves at most, so that others get their turn.
constexpr std::uint64_t kMoveBytesPerStep = std::uint64_t{32} << 20U;

/// Of the files that lie in the directory itself.
std::uint64_t bytes_in(const std::filesystem::path& directory) {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code ignored;
    const std::uintmax_t size = entry->is_regular_file(ignored) ? entry->file_size(ignored) : 0;
    if (!ignored) bytes += size;
  }
  return bytes;
}

}  // namespace

std::uint64_t DiskStore::own_bytes() const {
  const std::filesystem::path& directory = parts_.options.directory;
  std::uint64_t bytes = parts_.packs.total_bytes() + bytes_in(directory);
  if (parts_.keys) bytes += parts_.keys->size_bytes();
  return bytes;
}

std::uint64_t DiskStore::disk_bytes() const {
  return own_bytes() + (parts_.options.other_bytes ? parts_.options.other_bytes() : 0);
}

/// What may be in use before records are refused: the quota, less what compaction, commits and the
/// catalog's log need.
std::uint64_t DiskStore::room_bytes() const {
  constexpr std::uint64_t kCatalogRoom = 512U << 10U;
  const std::uint64_t quota = parts_.options.quota_bytes;
  const std::uint64_t kept_free = 2 * parts_.options.pack_size_bytes_max + kCatalogRoom;
  return quota - std::min(kept_free, quota / 4);
}

Result<> DiskStore::save_uses() {
  if (used_at_s_.empty()) return {};
  KVAULT_CHECK(catalog().touch(used_at_s_));
  used_at_s_.clear();
  return {};
}

Result<> DiskStore::sweep(MaintainReport& report) {
  KVAULT_TRY(const std::uint64_t n_deleted, delete_dead_packs(catalog(), packs()));
  report.n_pack_deleted += n_deleted;
  counters_.n_pack_deleted += n_deleted;
  return {};
}

Result<> DiskStore::expire(MaintainReport& report) {
  const std::uint64_t now_s = seconds_since_1970();
  KVAULT_TRY(const std::vector<SessionId> ids, catalog().expired(now_s));
  for (const SessionId& id : ids) {
    KVAULT_TRY(const SessionInfo info, find_session(id));
    const std::uint64_t at_s = info.attributes.expires_at_s;
    // What the commit record says decides, and opening held the catalog against that.
    if (holds_.contains(id) || at_s == 0 || at_s > now_s) continue;
    KVAULT_CHECK(remove_session(id));
    report.removed.push_back(id);
    ++counters_.n_expired;
  }
  return {};
}

bool DiskStore::is_evictable(const SessionRow& row) const {
  const bool has_pending = std::any_of(pending_.begin(), pending_.end(), [&](const auto& entry) {
    return entry.second.session == row.id;
  });
  return !row.attributes.is_pinned && !holds_.contains(row.id) && !has_pending;
}

/// What evictions could free at most; records that several sessions share count for each.
Result<std::uint64_t> DiskStore::evictable_bytes() {
  KVAULT_TRY(const std::vector<SessionRow> rows, catalog().list_by_use());
  std::uint64_t bytes = 0;
  for (const SessionRow& row : rows) {
    if (is_evictable(row)) bytes += row.record_bytes + row.place.length_bytes;
  }
  return bytes;
}

/// Removes the session that was used longest ago; false where all are pinned or in use.
Result<bool> DiskStore::evict_one(MaintainReport& report) {
  KVAULT_CHECK(save_uses());
  KVAULT_TRY(const std::vector<SessionRow> rows, catalog().list_by_use());
  for (const SessionRow& row : rows) {
    if (!is_evictable(row)) continue;
    KVAULT_CHECK(remove_session(row.id));
    report.removed.push_back(row.id);
    ++counters_.n_evicted;
    return true;
  }
  return false;
}

/// Dead bytes of the packs that are being written.
Result<std::uint64_t> DiskStore::dead_bytes_in_use() {
  KVAULT_TRY(const std::vector<PackUse> uses, catalog().pack_uses());
  std::uint64_t named = 0;
  for (const PackUse& use : uses) named += packs().is_idle(use.name) ? 0 : use.live_bytes;
  for (const auto& [handle, record] : pending_) named += record.header.length_bytes;
  std::uint64_t bytes = 0;
  for (const auto& [name, entry] : packs().entries()) {
    if (packs().is_idle(name)) continue;
    bytes += entry.size_bytes;
    named += kPackHeaderSize;
  }
  return bytes - std::min(bytes, named);
}

/// Moves records where enough is dead among them, else removes a session; false where neither can
/// be done. Moving writes a little too, so n_move_left bounds it.
Result<bool> DiskStore::free_some(std::uint64_t lacking_bytes, std::uint64_t& n_move_left,
                                  MaintainReport& report) {
  KVAULT_TRY(const std::uint64_t movable_bytes, dead_bytes());
  KVAULT_TRY(const std::uint64_t in_use_bytes, dead_bytes_in_use());
  // Leaving packs for less than what is lacking would end in many small ones.
  const bool is_worth_leaving =
      movable_bytes < lacking_bytes && movable_bytes + in_use_bytes >= lacking_bytes;
  if (is_worth_leaving && packs().leave_current()) return true;
  if (movable_bytes >= lacking_bytes && n_move_left > 0) {
    --n_move_left;
    KVAULT_TRY(const bool is_moved, compact_one(0, UINT64_MAX, report));
    if (is_moved) return true;
  }
  // Where other namespaces take the room, nobody's chats go in vain.
  KVAULT_TRY(const std::uint64_t removable_bytes, evictable_bytes());
  if (movable_bytes + in_use_bytes + removable_bytes < lacking_bytes) return false;
  return evict_one(report);
}

/// Frees until `length_bytes` more fit into the quota.
Result<> DiskStore::make_room(std::uint64_t length_bytes, MaintainReport& report) {
  if (parts_.options.quota_bytes == 0) return {};
  if (length_bytes > room_bytes()) {  // no session must go for what will never fit
    return fail(Errc::disk_full, message("the quota of ", parts_.options.quota_bytes,
                                         " bytes never has room for ", length_bytes));
  }
  const auto fits = [&] { return disk_bytes() + length_bytes <= room_bytes(); };
  if (fits()) return {};
  KVAULT_CHECK(catalog().checkpoint());
  KVAULT_CHECK(sweep(report));
  std::uint64_t n_move_left = 2 * packs().entries().size();
  while (!fits()) {
    const std::uint64_t lacking_bytes = disk_bytes() + length_bytes - room_bytes();
    KVAULT_TRY(const bool is_freed, free_some(lacking_bytes, n_move_left, report));
    if (!is_freed) break;
    KVAULT_CHECK(sweep(report));
    KVAULT_CHECK(catalog().checkpoint());  // removing sessions makes the catalog's log longer
  }
  if (fits()) return {};
  return fail(Errc::disk_full,
              message("the quota of ", parts_.options.quota_bytes, " bytes has no room for ",
                      length_bytes, " more: ", disk_bytes(),
                      " are in use, by sessions that are open, pinned, locked by readers or of ",
                      "other namespaces"));
}

Result<MaintainReport> DiskStore::maintain() {
  MaintainReport report;
  KVAULT_CHECK(save_uses());
  KVAULT_CHECK(expire(report));
  KVAULT_CHECK(destroy_doomed_keys());
  KVAULT_CHECK(sweep(report));
  // What other namespaces have grown by is theirs to make room for.
  if (parts_.options.quota_bytes > 0 && own_bytes() > room_bytes()) {
    const Result<> made = make_room(0, report);
    if (!made && made.error().code != Errc::disk_full) return tl::unexpected<Error>(made.error());
  }
  KVAULT_TRY(const bool is_moved, compact_one(kDeadShare, kMoveBytesPerStep, report));
  if (is_moved) KVAULT_CHECK(sweep(report));
  return report;
}

}  // namespace kvault
