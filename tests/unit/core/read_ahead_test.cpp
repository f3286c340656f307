#include "core/cpu/read_ahead.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

namespace kvault::cpu {
namespace {

constexpr std::uint32_t kHeadDim = 128;

/// Pages of n_head heads whose blocks lie one after the other, with a gap between any two.
struct Pages {
  AttendArgs args;
  std::vector<std::byte> memory;
  std::span<const std::byte> buffer;
  std::vector<PageRef> refs;
  AttendSequence sequence;
  std::vector<std::span<const std::byte>> in_order;

  Pages(std::uint32_t n_page, std::uint32_t n_head, BlockFormat key, BlockFormat value)
      : memory(std::size_t{n_page} * n_head * 150000), refs(std::size_t{n_page} * n_head) {
    args.n_head = args.n_kv_head = n_head;
    args.key_head_dim = args.value_head_dim = kHeadDim;
    buffer = memory;
    std::uint64_t offset = 0;
    const auto place = [&](BlockRef& ref, BlockFormat format) {
      const std::uint64_t size = BlockLayout::of(format, kHeadDim).size_bytes;
      ref = {offset, 0, format};
      in_order.push_back(buffer.subspan(offset, size));
      offset += size + 4096;
    };
    for (std::uint32_t page = 0; page < n_page; ++page) {
      PageRef* const heads = refs.data() + std::size_t{page} * n_head;
      for (std::uint32_t head = 0; head < n_head; ++head) place(heads[head].key, key);
      for (std::uint32_t head = 0; head < n_head; ++head) place(heads[head].value, value);
    }
    sequence.pages = refs;
    sequence.n_token = std::uint64_t{n_page} * kPageTokens;
  }
  std::uint64_t n_page() const { return refs.size() / args.n_kv_head; }
  AttendItem item(std::uint64_t begin, std::uint64_t end) const {
    return {args, sequence, {&buffer, 1}, {0, args.n_kv_head, 0, 1}, begin, end};
  }
};

/// All items of one thread.
class Items : public ItemSource {
 public:
  explicit Items(std::vector<AttendItem> items) : items_(std::move(items)) {}
  explicit Items(const Pages& pages) : items_({pages.item(0, pages.n_page())}) {}

  const AttendItem* take() override {
    return n_taken_ < items_.size() ? &items_[n_taken_++] : nullptr;
  }
  std::size_t n_taken() const { return n_taken_; }

 private:
  std::vector<AttendItem> items_;
  std::size_t n_taken_ = 0;
};

/// Addresses as a kernel asks for them.
std::vector<std::uintptr_t> lines_of(Ahead ahead) {
  std::vector<std::uintptr_t> lines;
  while (ahead.n_line > 0) {
    lines.push_back(ahead.at);
    --ahead.n_line;
    ahead.at += ahead.steps[ahead.n_line % kAheadStreams];
  }
  return lines;
}

std::uintptr_t address_of(const std::byte* at) { return reinterpret_cast<std::uintptr_t>(at); }

TEST_CASE("read ahead: every line is asked for once, before its block is read") {
  const BlockFormat tq3 = BlockFormat::coded(Scheme::tq3, true);
  const BlockFormat f16 = BlockFormat::raw(RowType::f16);
  for (const std::uint32_t n_head : {1U, 2U, 3U, 8U}) {
    for (const BlockFormat format : {tq3, f16}) {
      const Pages pages(5, n_head, format, format);
      Items items(pages);
      ReadAhead read_ahead(items);
      read_ahead.next_item();
      std::map<std::uintptr_t, std::size_t> asked_beside;
      const std::size_t n_block = pages.in_order.size();
      for (std::size_t block = 0; block < n_block; ++block) {
        for (const std::uintptr_t line : lines_of(read_ahead.beside_next())) {
          // Near the end there are fewer blocks than streams, which then ask for the same.
          const bool is_new = asked_beside.emplace(line, block).second;
          if (block + kAheadStreams < n_block) CHECK(is_new);
        }
      }
      for (std::size_t block = kAheadStreams; block < n_block; ++block) {
        const std::span<const std::byte> bytes = pages.in_order[block];
        for (std::size_t at = 0; at < bytes.size(); at += kLineBytes) {
          const auto found = asked_beside.find(address_of(bytes.data() + at));
          REQUIRE(found != asked_beside.end());
          CHECK(found->second < block);
          CHECK(found->second + kAheadStreams >= block);
        }
      }
      CHECK(asked_beside.size() <= n_block * pages.in_order[0].size() / kLineBytes);
    }
  }
}

TEST_CASE("read ahead: blocks of two sizes are asked for whole") {
  const Pages pages(4, 2, BlockFormat::coded(Scheme::q8, true),
                    BlockFormat::coded(Scheme::tq2, false));
  Items items(pages);
  ReadAhead read_ahead(items);
  read_ahead.next_item();
  std::map<std::uintptr_t, std::size_t> asked_beside;
  for (std::size_t block = 0; block < pages.in_order.size(); ++block) {
    for (const std::uintptr_t line : lines_of(read_ahead.beside_next())) {
      asked_beside.emplace(line, block);
    }
  }
  for (std::size_t block = kAheadStreams; block < pages.in_order.size(); ++block) {
    const std::span<const std::byte> bytes = pages.in_order[block];
    for (std::size_t at = 0; at < bytes.size(); at += kLineBytes) {
      const auto found = asked_beside.find(address_of(bytes.data() + at));
      REQUIRE(found != asked_beside.end());
      CHECK(found->second < block);
    }
  }
}

TEST_CASE("read ahead: streams take turns, line by line, and a share is taken from their front") {
  const Pages pages(2, 8, BlockFormat::coded(Scheme::tq4, true),
                    BlockFormat::coded(Scheme::tq4, true));
  Items items(pages);
  ReadAhead read_ahead(items);
  read_ahead.next_item();
  Ahead ahead = read_ahead.beside_next();
  const std::vector<std::uintptr_t> whole = lines_of(ahead);
  for (std::size_t i = 0; i + kAheadStreams < whole.size(); ++i) {
    CHECK(whole[i + kAheadStreams] == whole[i] + kLineBytes);
  }
  std::vector<std::uintptr_t> lines = lines_of(ahead.take(4));
  CHECK(lines.size() == whole.size() / 4 / kAheadStreams * kAheadStreams);
  for (const std::uintptr_t line : lines_of(ahead)) lines.push_back(line);
  CHECK(lines == whole);
}

TEST_CASE("read ahead: a page that is skipped is as if it had been worked on") {
  const BlockFormat format = BlockFormat::coded(Scheme::tq2, true);
  const Pages pages(3, 4, format, format);
  Items worked_items(pages);
  Items skipped_items(pages);
  ReadAhead worked(worked_items);
  ReadAhead skipped(skipped_items);
  worked.next_item();
  skipped.next_item();
  for (int block = 0; block < 8; ++block) worked.beside_next();
  skipped.skip_page();
  CHECK(lines_of(worked.beside_next()) == lines_of(skipped.beside_next()));
}

/// Works on all of an item's blocks, and notes beside which of them a line was first asked for.
void pass_item(ReadAhead& read_ahead, const AttendItem& item,
               std::map<std::uintptr_t, std::size_t>& asked_beside, std::size_t& block) {
  const std::uint64_t n_block = (item.page_end - item.page_begin) * 2 * item.range.n_kv_head;
  for (std::uint64_t i = 0; i < n_block; ++i, ++block) {
    for (const std::uintptr_t line : lines_of(read_ahead.beside_next())) {
      asked_beside.emplace(line, block);
    }
  }
}

TEST_CASE("read ahead: goes on from item to item, and takes one when the last is nearly done") {
  const BlockFormat format = BlockFormat::coded(Scheme::tq4, true);
  const Pages pages(12, 3, format, format);
  Items items({pages.item(0, 5), pages.item(5, 9), pages.item(9, 12)});
  ReadAhead read_ahead(items);
  std::map<std::uintptr_t, std::size_t> asked_beside;
  std::size_t block = 0;
  std::size_t n_item = 0;
  while (const AttendItem* const item = read_ahead.next_item()) {
    ++n_item;
    CHECK(items.n_taken() == n_item);
    CHECK(item->page_begin * 6 == block);
    pass_item(read_ahead, *item, asked_beside, block);
    CHECK(items.n_taken() == std::min<std::size_t>(n_item + 1, 3));
  }
  CHECK(n_item == 3);
  REQUIRE(block == pages.in_order.size());
  for (block = kAheadStreams; block < pages.in_order.size(); ++block) {
    const std::span<const std::byte> bytes = pages.in_order[block];
    for (std::size_t at = 0; at < bytes.size(); at += kLineBytes) {
      const auto found = asked_beside.find(address_of(bytes.data() + at));
      REQUIRE(found != asked_beside.end());
      CHECK(found->second < block);
      CHECK(found->second + kAheadStreams >= block);
    }
  }
}

TEST_CASE("read ahead: items of few blocks and of none come in order, one ahead at most") {
  const BlockFormat format = BlockFormat::coded(Scheme::tq3, false);
  const Pages pages(5, 1, format, format);
  Items items({pages.item(0, 1), pages.item(1, 1), pages.item(1, 3), pages.item(3, 3),
               pages.item(3, 4), pages.item(4, 5)});
  ReadAhead read_ahead(items);
  std::map<std::uintptr_t, std::size_t> asked_beside;
  std::size_t block = 0;
  std::size_t n_item = 0;
  while (const AttendItem* const item = read_ahead.next_item()) {
    ++n_item;
    CHECK(item->page_begin * 2 == block);
    pass_item(read_ahead, *item, asked_beside, block);
    CHECK(items.n_taken() <= n_item + 1);
  }
  CHECK(n_item == 6);
  CHECK(block == pages.in_order.size());
  CHECK(read_ahead.next_item() == nullptr);
}

TEST_CASE("read ahead: nothing is asked for beside the last block") {
  const BlockFormat format = BlockFormat::coded(Scheme::q8, true);
  const Pages pages(1, 1, format, format);
  Items items(pages);
  ReadAhead read_ahead(items);
  read_ahead.next_item();
  CHECK(read_ahead.beside_next().n_line > 0);  // the values, beside the keys
  CHECK(read_ahead.beside_next().n_line == 0);
}

}  // namespace
}  // namespace kvault::cpu
