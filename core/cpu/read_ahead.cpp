#include "core/cpu/read_ahead.hpp"

#include <algorithm>

namespace kvault::cpu {

ReadAhead::ReadAhead(const AttendItem& item) : item_(item), page_(item.page_begin) {
  // The last place is filled by beside_next; before the first block comes none.
  for (std::span<const std::byte>& block : blocks_) block = take_block();
}

std::span<const std::byte> ReadAhead::take_block() {
  if (page_ >= item_.page_end) return {};
  const std::uint32_t n_head = item_.range.n_kv_head;
  const bool is_key = of_page_ < n_head;
  const PageHead at = {item_, page_, is_key ? of_page_ : of_page_ - n_head};
  if (++of_page_ == 2 * n_head) {
    of_page_ = 0;
    ++page_;
  }
  return is_key ? at.key() : at.value();
}

Ahead ReadAhead::beside_next() {
  std::shift_left(blocks_.begin(), blocks_.end(), 1);
  blocks_.back() = take_block();
  if (blocks_.front().empty()) return {};
  std::array<std::uintptr_t, kAheadStreams> at = {};
  std::size_t n_line = 0;
  for (std::size_t i = 0; i < kAheadStreams; ++i) {
    // Past the item's end there is nothing else to ask for; a shorter part is read past its end.
    const std::span<const std::byte> block = blocks_[i];
    const std::size_t n_line_of_part =
        (block.size() / kLineBytes + kAheadStreams - 1) / kAheadStreams;
    const std::size_t part = kAheadStreams - 1 - i;
    at[i] = block.empty() ? at[i - 1]
                          : reinterpret_cast<std::uintptr_t>(block.data()) +
                                part * n_line_of_part * kLineBytes;
    n_line = std::max(n_line, n_line_of_part);
  }
  Ahead ahead = {at[0], n_line * kAheadStreams, {}};
  for (std::size_t i = 0; i < kAheadStreams; ++i) {
    const std::uintptr_t next = i + 1 < kAheadStreams ? at[i + 1] : at[0] + kLineBytes;
    ahead.steps[kAheadStreams - 1 - i] = next - at[i];
  }
  return ahead;
}

void ReadAhead::skip_page() {
  for (std::uint32_t i = 0; i < 2 * item_.range.n_kv_head; ++i) beside_next();
}

}  // namespace kvault::cpu
