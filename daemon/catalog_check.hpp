#pragma once

#include <string>

#include "core/base/result.hpp"
#include "daemon/catalog.hpp"
#include "daemon/pack.hpp"

namespace kvault {

/// How a commit record and the catalog's word on its session differ; empty where they do not.
/// `header` and `meta`: what the commit record says.
std::string disagreement(const SessionState& state, const RecordHeader& header,
                         const CommitMeta& meta);

/// Why a catalog that opened well is not to be believed; empty where it is. It must not be older
/// than the packs, its records must lie within them, and what it says of a session must be what the
/// session's commit record says, wherever that one is whole. An error where the machine fails.
Result<std::string> find_mismatch(Catalog& catalog, const PackSet& packs);

}  // namespace kvault
