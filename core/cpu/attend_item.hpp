#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/cpu/attend_query.hpp"
#include "core/device/device.hpp"
#include "core/layout/block_layout.hpp"

namespace kvault::cpu {

/// Pages of one split. Boundaries stand at multiples of it, counted from position 0: what a split
/// holds depends neither on threads nor on how long the context is. 2048 tokens: the rotation of
/// the queries, done once per split, stays near 1 % of the work.
inline constexpr std::uint64_t kSplitPages = 16;

/// Bytes of a call's buffers, by index.
using BufferBytes = std::span<const std::span<const std::byte>>;

/// One RowRange of one sequence over pages [page_begin, page_end) of its table.
struct AttendItem {
  const AttendArgs& args;
  const AttendSequence& sequence;
  BufferBytes buffers;
  RowRange range;
  std::uint64_t page_begin;
  std::uint64_t page_end;
  std::size_t slot = 0;  ///< which of its wave's partial results it fills

  std::uint64_t first_position_of(std::uint64_t page) const {
    return (sequence.first_page + page) * kPageTokens;
  }
};

/// The items that one thread works on, in order.
class ItemSource {
 public:
  ItemSource() = default;
  ItemSource(const ItemSource&) = delete;
  ItemSource& operator=(const ItemSource&) = delete;
  virtual ~ItemSource() = default;

  /// The next, now this thread's to do; null: none is left. It lives as long as the source.
  virtual const AttendItem* take() = 0;
};

/// The blocks of one page and one kv head, and the rows that meet them.
struct PageHead {
  const AttendItem& item;
  std::uint64_t page;
  std::uint32_t head;  ///< of the item's, from 0

  const AttendArgs& args() const { return item.args; }
  std::uint32_t n_row() const { return item.range.n_row; }
  /// The first of this head's rows among all of the item's.
  std::uint32_t first_row() const { return head * item.range.n_row; }
  std::uint64_t first_position() const { return item.first_position_of(page); }
  /// Tokens of the page that exist.
  std::uint32_t n_valid() const {
    const std::uint64_t n_left = item.sequence.n_token - first_position();
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(kPageTokens, n_left));
  }
  const PageRef& refs() const {
    return item.sequence.pages[page * args().n_kv_head + item.range.first_kv_head + head];
  }
  std::span<const std::byte> key() const { return bytes_of(refs().key, args().key_head_dim); }
  std::span<const std::byte> value() const { return bytes_of(refs().value, args().value_head_dim); }

 private:
  std::span<const std::byte> bytes_of(const BlockRef& ref, std::uint32_t head_dim) const {
    return item.buffers[ref.buffer].subspan(ref.offset_bytes,
                                            BlockLayout::of(ref.format, head_dim).size_bytes);
  }
};

}  // namespace kvault::cpu
