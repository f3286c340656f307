#pragma once

#include <cstdint>

#include "core/base/result.hpp"
#include "daemon/catalog.hpp"
#include "daemon/pack.hpp"

namespace kvault {

/// Whether a rebuild found damage when this pack was there: such packs stay for ever.
inline bool is_held(PackName pack, const HeldPacks& held) {
  return pack.number < (pack.kind == PackKind::log ? held.log_number : held.pages_number);
}

/// Deletes packs without live records that nobody writes to or has locked; returns how many. Log
/// packs go from the oldest on, as far as that is true of all of them: a tombstone must not go
/// before the commits it buries. Pages packs hold neither, so each goes on its own.
Result<std::uint64_t> delete_dead_packs(Catalog& catalog, PackSet& packs);

}  // namespace kvault
