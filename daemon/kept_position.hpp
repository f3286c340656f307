#pragma once

#include <cstdint>
#include <functional>

#include "core/base/result.hpp"
#include "core/format/record.hpp"

namespace kvault {

/// A position a stored session can be gone back to, or forked at.
struct KeptPosition {
  std::uint64_t n_token = 0;
  std::uint64_t n_page = 0;  ///< sealed pages that stay
  bool exact = true;         ///< a replay from here gives a fresh run's bits (decision 0003)
};

/// Whether the record of a page holds raw rows for every sliding-window layer.
using HasWindowRows = std::function<Result<bool>(std::uint64_t page)>;

/// The newest position <= n_token that every layer of the stored state can go on from:
/// full attention at positions whose page and the page before are raw in the tail, and at page
/// boundaries elsewhere; sliding windows where their rows are stored; recurrent layers at their
/// snapshots. 0 always can. pre: n_token <= meta.n_token
Result<KeptPosition> kept_position(const CommitMeta& meta, std::uint64_t n_token,
                                   const HasWindowRows& has_window_rows);

}  // namespace kvault
