#include "daemon/dead_packs.hpp"

#include <set>
#include <vector>

namespace kvault {

Result<std::uint64_t> delete_dead_packs(Catalog& catalog, PackSet& packs) {
  KVAULT_TRY(const std::vector<PackUse> uses, catalog.pack_uses());
  KVAULT_TRY(const HeldPacks held, catalog.held_packs());
  std::set<PackName> live;
  for (const PackUse& use : uses) live.insert(use.name);
  std::vector<PackName> dead;
  for (const auto& [name, entry] : packs.entries()) {
    const bool is_dead = !is_held(name, held) && !live.contains(name) && packs.is_idle(name);
    if (is_dead) dead.push_back(name);
  }
  std::uint64_t n_deleted = 0;
  for (const PackName name : dead) {
    const bool is_log = name.kind == PackKind::log;
    const bool is_oldest = packs.entries().begin()->first == name;
    if (is_log && !is_oldest) continue;
    KVAULT_TRY(const bool is_removed, packs.remove(name));
    n_deleted += is_removed ? 1 : 0;
  }
  return n_deleted;
}

}  // namespace kvault
