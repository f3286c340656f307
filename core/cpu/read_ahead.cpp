#include "core/cpu/read_ahead.hpp"

#include <algorithm>
#include <utility>

namespace kvault::cpu {

const AttendItem* ReadAhead::next_item() {
  item_ = following_ != nullptr ? std::exchange(following_, nullptr) : source_.take();
  if (item_ == nullptr) return nullptr;
  read_from(*item_);
  // The nearest is the first, beside which it will be replaced.
  for (Block& block : blocks_) block = take_block();
  nearest_ = 0;
  return item_;
}

void ReadAhead::read_from(const AttendItem& item) {
  reading_ = &item;
  page_ = item.page_begin;
  of_page_ = 0;
}

ReadAhead::Block ReadAhead::take_block() {
  if (page_ >= reading_->page_end && following_ == nullptr) {
    following_ = source_.take();
    if (following_ != nullptr) read_from(*following_);
  }
  if (page_ >= reading_->page_end) return {};  // more items than one ahead are not taken
  const std::uint32_t n_head = reading_->range.n_kv_head;
  const bool is_key = of_page_ < n_head;
  const PageHead at = {*reading_, page_, is_key ? of_page_ : of_page_ - n_head};
  if (++of_page_ == 2 * n_head) {
    of_page_ = 0;
    ++page_;
  }
  const std::span<const std::byte> bytes = is_key ? at.key() : at.value();
  const std::size_t n_line = bytes.size() / kLineBytes;
  // An odd number: streams whose lines stand at the same places of their pages slow each other
  // down.
  return {reinterpret_cast<std::uintptr_t>(bytes.data()),
          (n_line + kAheadStreams - 1) / kAheadStreams | 1U};
}

Ahead ReadAhead::beside_next() {
  blocks_[nearest_] = take_block();
  nearest_ = (nearest_ + 1) % kAheadStreams;
  Ahead ahead;
  std::uintptr_t at = 0;
  for (std::size_t i = 0; i < kAheadStreams; ++i) {
    const Block& block = blocks_[(nearest_ + i) % kAheadStreams];
    if (block.n_line_of_part == 0) break;
    const std::size_t part = kAheadStreams - 1 - i;
    const std::uintptr_t next = block.at + part * block.n_line_of_part * kLineBytes;
    if (i == 0) {
      ahead.at = next;
    } else {
      ahead.steps[kAheadStreams - i] = next - at;
    }
    at = next;
    // A shorter part is read past its end.
    ahead.n_line = std::max(ahead.n_line, block.n_line_of_part * kAheadStreams);
  }
  // Streams past the end repeat the last that is not: their steps are 0.
  ahead.steps[0] = ahead.at + kLineBytes - at;
  return ahead;
}

void ReadAhead::skip_page() {
  const std::uint32_t n_block = 2 * item_->range.n_kv_head;
  for (std::uint32_t i = 0; i < n_block; ++i) beside_next();
}

}  // namespace kvault::cpu
