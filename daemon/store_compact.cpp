#include <algorithm>
#include <map>

#include "core/os/lock.hpp"
#include "daemon/dead_packs.hpp"
#include "daemon/disk_store.hpp"
#include "daemon/rebuild.hpp"

namespace kvault {

/// Packs that could be emptied, the deadest first, with what that would free. Of log packs only the
/// oldest is named, with the dead bytes of all: they go from the oldest on.
Result<std::vector<DiskStore::DeadPack>> DiskStore::dead_packs() {
  KVAULT_TRY(const std::vector<PackUse> uses, catalog().pack_uses());
  KVAULT_TRY(const HeldPacks held, catalog().held_packs());
  std::map<PackName, std::uint64_t> live_bytes;
  for (const PackUse& use : uses) live_bytes[use.name] = use.live_bytes;
  std::vector<DeadPack> dead;
  std::optional<DeadPack> logs;
  bool is_oldest_log = true;
  for (const auto& [name, entry] : packs().entries()) {
    const bool is_log = name.kind == PackKind::log;
    const bool is_first = is_log && std::exchange(is_oldest_log, false);
    KVAULT_TRY(const bool is_movable, can_empty(name, live_bytes[name], held));
    const std::uint64_t live = live_bytes[name] + kPackHeaderSize;
    const DeadPack pack{name, entry.size_bytes - std::min(entry.size_bytes, live),
                        entry.size_bytes};
    if (!is_log) {
      if (is_movable && pack.dead_bytes > 0) dead.push_back(pack);
    } else if (is_first && is_movable) {
      logs = pack;
    } else if (logs && packs().is_idle(name)) {
      logs->dead_bytes += pack.dead_bytes;
      logs->size_bytes += pack.size_bytes;
    }
  }
  if (logs && logs->dead_bytes > 0) dead.push_back(*logs);
  std::sort(dead.begin(), dead.end(),
            [](const DeadPack& a, const DeadPack& b) { return a.dead_bytes > b.dead_bytes; });
  return dead;
}

/// What is wholly dead goes by itself; what a reader has locked would not go yet.
Result<bool> DiskStore::can_empty(PackName pack, std::uint64_t live_bytes, const HeldPacks& held) {
  if (live_bytes == 0 || is_held(pack, held) || damaged_packs_.contains(pack) ||
      !packs().is_idle(pack)) {
    return false;
  }
  KVAULT_TRY(const bool is_read, is_locked(packs().path_of(pack)));
  return !is_read;
}

Result<std::uint64_t> DiskStore::dead_bytes() {
  KVAULT_TRY(const std::vector<DeadPack> dead, dead_packs());
  std::uint64_t bytes = 0;
  for (const DeadPack& pack : dead) bytes += pack.dead_bytes;
  return bytes;
}

Result<bool> DiskStore::compact_one(double dead_share_min, std::uint64_t move_bytes_max,
                                    MaintainReport& report) {
  KVAULT_TRY(const std::vector<DeadPack> dead, dead_packs());
  for (const DeadPack& pack : dead) {
    const double share = double(pack.dead_bytes) / double(pack.size_bytes);
    if (share < dead_share_min || pack.dead_bytes == 0) continue;
    KVAULT_CHECK(compact(pack.name, move_bytes_max, report));
    return true;
  }
  return false;
}

/// Writes a record, as read_live_record() gave it, to the current pack of its kind. The room stays
/// reserved.
Result<LiveRecord> DiskStore::move_record(const LiveRecord& live, std::vector<std::byte> bytes,
                                          std::vector<PackRoom>& rooms) {
  KVAULT_TRY(RecordHeader header, parse_header(bytes));
  KVAULT_TRY(const PackRoom room, packs().reserve(live.pack_kind, header.length_bytes));
  rooms.push_back(room);
  header.pack_id = room.pack_id;
  const std::vector<std::byte> meta(
      bytes.begin() + kRecordHeaderSize,
      bytes.begin() + static_cast<std::ptrdiff_t>(header.head_bytes()));
  const std::vector<std::byte> head = serialise_head(header, meta);
  std::copy(head.begin(), head.end(), bytes.begin());
  KVAULT_CHECK(packs().write(room.pack, room.offset_bytes, bytes, StoreStep::write_payload));
  counters_.written_bytes += bytes.size();
  LiveRecord moved = live;
  moved.pack_number = room.pack.number;
  moved.offset_bytes = room.offset_bytes;
  moved.checksum = header.checksum;
  return moved;
}

/// Moves the record that `live` names, once for all sessions that share it, if it lies in the pack;
/// false where it stays.
Result<bool> DiskStore::move_once(Move& move, LiveRecord& live, MaintainReport& report) {
  const RecordPlace place = place_of(live);
  if (place.pack != move.pack) return false;
  auto known = move.moved.find(place);
  if (known == move.moved.end()) {
    if (move.moved_bytes >= move.bytes_max) return false;
    Result<std::vector<std::byte>> bytes = read_live_record(packs(), live);
    if (!bytes) {
      // Damaged, or the machine cannot read it: this pack stays as it is until the next opening.
      damaged_packs_.insert(move.pack);
      ++counters_.n_damage;
      report.damage.push_back(bytes.error().message);
      return false;
    }
    KVAULT_TRY(const LiveRecord target, move_record(live, std::move(*bytes), move.rooms));
    known = move.moved.emplace(place, target).first;
    move.moved_bytes += live.length_bytes;
  }
  const std::uint32_t n_token = live.n_token;  // a fork may see fewer rows of a tail
  live = known->second;
  live.n_token = n_token;
  return true;
}

/// The sessions that name something in the pack, as they will be.
Result<std::vector<SessionState>> DiskStore::move_all(Move& move, MaintainReport& report) {
  KVAULT_TRY(const std::vector<SessionId> ids, catalog().sessions_in_pack(move.pack));
  std::vector<SessionState> states;
  for (const SessionId& id : ids) {
    KVAULT_TRY(SessionState state, catalog().load(id));
    bool is_changed = move.pack == PackName{PackKind::log, state.place.pack_number};
    for (LiveRecord& live : state.meta.records) {
      KVAULT_TRY(const bool is_moved, move_once(move, live, report));
      is_changed = is_changed || is_moved;
    }
    if (!is_changed) continue;
    state.place.transaction = next_transaction_++;
    states.push_back(std::move(state));
  }
  return states;
}

/// Moves what lives in a pack, up to move_bytes_max, and states the sessions that name it anew.
/// They stay as they were at every instant: new records are synced before commits name them, and
/// the old ones go with their pack, later.
Result<> DiskStore::compact(PackName pack, std::uint64_t move_bytes_max, MaintainReport& report) {
  Move move{.pack = pack, .bytes_max = move_bytes_max};
  const auto attempt = [&]() -> Result<> {
    KVAULT_TRY(std::vector<SessionState> states, move_all(move, report));
    std::set<PackName> touched;
    for (const PackRoom& room : move.rooms) touched.insert(room.pack);
    // Before their commits even where they share a pack with them: a rebuild reads to the last byte
    // only what a commit wrote itself.
    for (const PackName name : touched) KVAULT_CHECK(packs().sync(name, StoreStep::sync_pack));
    if (states.empty()) return {};
    KVAULT_CHECK(write_commits(states, {}));
    KVAULT_CHECK(before_catalog());
    return catalog().update(states);
  };
  const Result<> done = attempt();
  for (const PackRoom& room : move.rooms) packs().release(room);
  KVAULT_CHECK(done);
  report.moved_bytes += move.moved_bytes;
  counters_.moved_bytes += move.moved_bytes;
  ++counters_.n_compaction;
  return {};
}

}  // namespace kvault
