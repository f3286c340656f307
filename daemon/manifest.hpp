#pragma once

#include <cstdint>
#include <vector>

#include "core/base/result.hpp"
#include "core/format/record.hpp"
#include "daemon/store.hpp"

namespace kvault {

/// Snapshots that stay live, newest first.
inline constexpr std::size_t kSnapshotsKept = 4;

/// What the session is after the step `request` from `before` with `added` records (of all its
/// handles): which records stay, which leave, which come. Pure. `added` have their place, kind and
/// tokens; transaction must be the commit's own, above all before. committed_at_s is not set.
///
///   pages      kept_n_page first ones stay; the added ones continue them without a hole
///   tails      stay up to kept_n_token (the last one may be cut there); those that end at or below
///              token 128 * (n_page - 1) leave: one page of raw history stays behind the tail
///   snapshots  at or below kept_n_token stay, of all at most the newest 4
///
/// Errc::invalid_argument: numbers that contradict each other. Errc::incomplete: pages and tail
/// rows do not reach from 0 to n_token, or a recurrent model has no snapshot there.
Result<CommitMeta> next_manifest(const CommitMeta& before, const CommitRequest& request,
                                 const std::vector<LiveRecord>& added);

}  // namespace kvault
