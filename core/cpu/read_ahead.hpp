#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/cpu/ahead.hpp"
#include "core/cpu/attend_item.hpp"

namespace kvault::cpu {

/// What to ask of memory while an item's blocks are worked on, in the order in which a split takes
/// them: a page's keys of all heads, their values, the next page.
///
/// Beside block n, a part of each of the next kAheadStreams blocks is asked for: the last part of
/// n + 1, whose others have been asked for beside the blocks before n, and so on to the first part
/// of the farthest. So there are always as many places in memory that are read on from.
class ReadAhead {
 public:
  explicit ReadAhead(const AttendItem& item);

  /// Once per block, beside it.
  Ahead beside_next();
  /// Instead of once for every block of a page that is not worked on.
  void skip_page();

 private:
  struct Block {
    std::uintptr_t at = 0;
    std::size_t n_line_of_part = 0;  ///< 0: past the item's end
  };
  /// The next in order.
  Block take_block();

  const AttendItem& item_;
  std::uint64_t page_;
  std::uint32_t of_page_ = 0;                ///< among the page's blocks
  std::array<Block, kAheadStreams> blocks_;  ///< a ring
  std::size_t nearest_ = 0;                  ///< in the ring
};

}  // namespace kvault::cpu
