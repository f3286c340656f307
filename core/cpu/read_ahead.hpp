#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/cpu/ahead.hpp"
#include "core/cpu/attend_item.hpp"

namespace kvault::cpu {

/// What to ask of memory while items are worked on, in the order in which a split takes their
/// blocks: a page's keys of all heads, their values, the next page. The next item is taken when the
/// last blocks of one are worked on, so that memory does not wait where an item ends.
///
/// Beside block n, a part of each of the next kAheadStreams blocks is asked for: the last part of
/// n + 1, whose others have been asked for beside the blocks before n, and so on to the first part
/// of the farthest. So there are always as many places in memory that are read on from.
class ReadAhead {
 public:
  explicit ReadAhead(ItemSource& source) : source_(source) {}

  /// The item to work on; null: none is left. pre: the last one's blocks have all been passed
  const AttendItem* next_item();
  /// Once per block of the item, beside it.
  Ahead beside_next();
  /// Instead of once for every block of a page that is not worked on.
  void skip_page();

 private:
  struct Block {
    std::uintptr_t at = 0;
    std::size_t n_line_of_part = 0;  ///< 0: there is none
  };
  void read_from(const AttendItem& item);
  /// The next in order.
  Block take_block();

  ItemSource& source_;
  const AttendItem* item_ = nullptr;       ///< worked on
  const AttendItem* following_ = nullptr;  ///< taken, not yet worked on
  const AttendItem* reading_ = nullptr;    ///< the one of the two whose blocks are taken
  std::uint64_t page_ = 0;
  std::uint32_t of_page_ = 0;                ///< among the page's blocks
  std::array<Block, kAheadStreams> blocks_;  ///< a ring
  std::size_t nearest_ = 0;                  ///< in the ring
};

}  // namespace kvault::cpu
