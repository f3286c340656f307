#include "gpu_cuda/attend_plan.hpp"

#include <doctest/doctest.h>

#include <set>
#include <vector>

namespace kvault::cuda {
namespace {

constexpr AttendPolicy kTensor = {.uses_tensor_cores = true, .n_column = kColumns};

/// n_page pages of one kv head: the first and the last two raw, the others as `coded` says.
std::vector<PageRef> make_pages(std::uint64_t n_page, BlockFormat key, BlockFormat value) {
  std::vector<PageRef> pages(n_page);
  for (std::uint64_t i = 0; i < n_page; ++i) {
    const bool is_raw = i == 0 || i + 2 >= n_page;
    pages[i].key.format = is_raw ? BlockFormat::raw(RowType::f16) : key;
    pages[i].value.format = is_raw ? BlockFormat::raw(RowType::f16) : value;
  }
  return pages;
}

const BlockFormat kCoded = BlockFormat::coded(Scheme::tq4, true);

AttendSequence make_sequence(std::span<const PageRef> pages, std::uint32_t n_q) {
  AttendSequence sequence;
  sequence.n_q = n_q;
  sequence.pages = pages;
  sequence.n_token = pages.size() * kPageTokens;
  return sequence;
}

AttendArgs make_args(std::span<const AttendSequence> sequences, std::uint32_t n_head = 4) {
  AttendArgs args;
  args.n_head = n_head;
  args.n_kv_head = 1;
  args.key_head_dim = args.value_head_dim = 128;
  args.sequences = sequences;
  return args;
}

TEST_CASE("cuda plan: every page of a tile is in one split, whose boundaries are absolute") {
  for (const std::uint64_t n_page : {1U, 2U, 4U, 5U, 31U, 500U, 1024U, 5000U}) {
    for (const std::uint64_t first_page : {0U, 1U, 3U, 1000U}) {
      const std::vector<PageRef> pages = make_pages(n_page, kCoded, kCoded);
      AttendSequence sequence = make_sequence(pages, 1);
      sequence.first_page = first_page;
      const auto waves = plan_attend(make_args({&sequence, 1}), kTensor);
      REQUIRE(waves.size() == 1);
      std::set<std::uint32_t> slots;
      std::vector<int> n_tensor(n_page);
      for (const ItemEntry& item : waves[0].narrow) {
        CHECK(item.kind == kTensorValues);
        slots.insert(item.slot);
        for (std::uint32_t page = item.page_begin; page < item.page_end; ++page) ++n_tensor[page];
        if (item.page_begin > 0) CHECK((first_page + item.page_begin) % 4 == 0);
      }
      CHECK(slots.size() == waves[0].narrow.size());
      for (std::uint64_t page = 1; page + 2 < n_page; ++page) CHECK(n_tensor[page] == 1);
      CHECK(waves[0].tiles[0].n_slot <= 132);
    }
  }
}

TEST_CASE("cuda plan: a split has an item for every kind of its pages, and says which") {
  const std::vector<PageRef> pages = make_pages(4, kCoded, kCoded);
  const AttendSequence sequence = make_sequence(pages, 1);
  const auto waves = plan_attend(make_args({&sequence, 1}), kTensor);
  REQUIRE(waves.size() == 1);
  REQUIRE(waves[0].portable.size() == 1);
  CHECK(waves[0].portable[0].kind == kRawValues);
  REQUIRE(waves[0].narrow.size() == 1);
  CHECK(waves[0].wide.empty());
  CHECK(waves[0].slot_kinds == std::vector<std::uint32_t>{kRawValues, kTensorValues});
  CHECK(waves[0].portable[0].slot == 0);
  CHECK(waves[0].narrow[0].slot == 1);
  CHECK(waves[0].tiles[0].n_slot == 2);
}

TEST_CASE("cuda plan: raw keys of coded values, and GPUs without tensor cores, are portable") {
  const std::vector<PageRef> mixed =
      make_pages(8, BlockFormat::raw(RowType::bf16), BlockFormat::coded(Scheme::tq2, false));
  const std::vector<PageRef> coded = make_pages(8, kCoded, kCoded);
  const AttendSequence sequences[] = {make_sequence(mixed, 1), make_sequence(coded, 1)};
  const auto with = plan_attend(make_args({sequences, 1}), kTensor);
  CHECK(with[0].narrow.empty());
  const auto without = plan_attend(make_args({sequences + 1, 1}), {});
  CHECK(without[0].narrow.empty());
  bool has_coded = false;
  for (const ItemEntry& item : without[0].portable) has_coded |= item.kind == kCodedValues;
  CHECK(has_coded);
}

TEST_CASE("cuda plan: rows beyond four are wide, whatever the other sequences are") {
  const std::vector<PageRef> pages = make_pages(8, kCoded, kCoded);
  const AttendSequence sequences[] = {make_sequence(pages, 3), make_sequence(pages, 1)};
  // Three queries of four heads: eight rows, then four.
  const auto waves = plan_attend(make_args(sequences), kTensor);
  REQUIRE(waves.size() == 1);
  REQUIRE(waves[0].tiles.size() == 3);
  for (const ItemEntry& item : waves[0].wide) CHECK(item.tile == 0);
  for (const ItemEntry& item : waves[0].narrow) CHECK(item.tile > 0);
  CHECK(!waves[0].wide.empty());
  CHECK(!waves[0].narrow.empty());
}

constexpr AttendPolicy kPrefill = {
    .uses_tensor_cores = true, .n_column = kColumns, .n_prefill_tile = 8};

TEST_CASE("cuda plan: many rows are taken at once, all tiles of an item in one wave") {
  const std::vector<PageRef> pages = make_pages(300, kCoded, kCoded);
  const AttendSequence sequence = make_sequence(pages, 1000);
  std::size_t n_row = 0;
  for (const AttendWave& wave : plan_attend(make_args({&sequence, 1}), kPrefill)) {
    CHECK(wave.narrow.empty());
    CHECK(wave.wide.empty());
    std::set<std::uint32_t> slots;
    for (const ItemEntry& item : wave.prefill) {
      CHECK(item.kind == kTensorValues);
      REQUIRE(item.tile + item.n_tile <= wave.tiles.size());
      const TileEntry& first = wave.tiles[item.tile];
      for (std::uint32_t i = 0; i < item.n_tile; ++i) {
        const TileEntry& tile = wave.tiles[item.tile + i];
        CHECK(tile.first_row == first.first_row + i * kColumns);
        CHECK(tile.n_slot == first.n_slot);
        // Where a kernel finds the slot of the other tiles.
        const std::uint32_t slot = tile.first_slot + (item.slot - first.first_slot);
        CHECK(wave.slot_kinds[slot] == kTensorValues);
        slots.insert(slot);
      }
    }
    for (const ItemEntry& item : wave.portable) slots.insert(item.slot);
    CHECK(slots.size() == wave.slot_kinds.size());
    for (const TileEntry& tile : wave.tiles) n_row += tile.n_row;
  }
  CHECK(n_row == 4000);
}

TEST_CASE("cuda plan: what counts as many rows, and that splits depend on the sequence alone") {
  const std::vector<PageRef> pages = make_pages(64, kCoded, kCoded);
  const auto n_prefill = [&](std::uint32_t n_q, std::uint32_t n_head, const AttendPolicy& policy) {
    const AttendSequence sequence = make_sequence(pages, n_q);
    std::size_t n_item = 0;
    for (const AttendWave& wave : plan_attend(make_args({&sequence, 1}, n_head), policy)) {
      n_item += wave.prefill.size();
    }
    return n_item;
  };
  CHECK(n_prefill(4, 4, kPrefill) == 0);
  // Few rows are split as they are in a decode: every four pages.
  CHECK(n_prefill(5, 4, kPrefill) == 16);
  CHECK(n_prefill(8, 4, kPrefill) == 16);
  CHECK(n_prefill(9, 4, kPrefill) == 8);
  CHECK(n_prefill(8, 4, kTensor) == 0);
  // A token of many heads is decoded, whatever there may be to come.
  CHECK(n_prefill(1, 64, kPrefill) == 0);
  // One block of 64 rows after the other: then splits of more pages.
  CHECK(n_prefill(64, 4, kPrefill) == 4 * 8);
  CHECK(n_prefill(16384, 1, kPrefill) == 256 * 4);
  const AttendSequence sequences[] = {make_sequence(pages, 16), make_sequence(pages, 16384)};
  const auto alone = plan_attend(make_args({sequences, 1}, 4), kPrefill);
  const auto together = plan_attend(make_args(sequences, 4), kPrefill);
  for (std::size_t i = 0; i < alone[0].prefill.size(); ++i) {
    CHECK(together[0].prefill[i].page_begin == alone[0].prefill[i].page_begin);
    CHECK(together[0].prefill[i].n_tile == alone[0].prefill[i].n_tile);
  }
}

TEST_CASE("cuda plan: a long prefill takes few waves, each of which fills a device") {
  const std::vector<PageRef> one_head = make_pages(256, kCoded, kCoded);
  std::vector<PageRef> pages;
  for (const PageRef& page : one_head) pages.insert(pages.end(), 8, page);
  AttendSequence sequence = make_sequence(pages, 2048);
  sequence.n_token = 256 * kPageTokens;
  AttendArgs args = make_args({&sequence, 1}, 32);
  args.n_kv_head = 8;
  const auto waves = plan_attend(args, kPrefill);
  CHECK(waves.size() <= 5);
  for (std::size_t i = 0; i + 1 < waves.size(); ++i) CHECK(waves[i].prefill.size() >= 800);
}

TEST_CASE("cuda plan: the scratch of a wave stays within what the device says") {
  const std::vector<PageRef> pages = make_pages(3000, kCoded, kCoded);
  const AttendSequence sequence = make_sequence(pages, 512);
  AttendArgs args = make_args({&sequence, 1}, 8);
  for (const std::uint32_t head_dim : {32U, 128U, 512U}) {
    args.key_head_dim = args.value_head_dim = head_dim;
    std::size_t n_tile = 0;
    for (const AttendWave& wave : plan_attend(args, kTensor)) {
      n_tile += wave.tiles.size();
      CHECK(AttendScratch::of(head_dim, head_dim, wave.tiles.size(), wave.slot_kinds.size())
                .size_bytes <= attend_scratch_size_bytes());
    }
    CHECK(n_tile == 512);
  }
}

TEST_CASE("cuda plan: one for pages to come is the same whatever the sequence has now") {
  AttendPolicy standing = kTensor;
  standing.n_page_max = 20;
  const std::vector<PageRef> pages = make_pages(20, kCoded, kCoded);
  for (const std::size_t n_page : {1U, 3U, 8U, 20U}) {
    const AttendSequence sequence = make_sequence(std::span(pages).first(n_page), 1);
    const auto waves = plan_attend(make_args({&sequence, 1}), standing);
    REQUIRE(waves.size() == 1);
    REQUIRE(waves[0].slot_kinds.size() == 15);
    for (std::uint32_t slot = 0; slot < 15; ++slot) CHECK(waves[0].slot_kinds[slot] == slot % 3);
    CHECK(waves[0].portable.size() == 10);
    CHECK(waves[0].narrow.size() == 5);
    CHECK(waves[0].narrow.back().page_begin == 16);
    CHECK(waves[0].narrow.back().page_end == 20);
  }
}

TEST_CASE("cuda plan: floors are found for sequences whose values may be left out, only") {
  const std::vector<PageRef> pages = make_pages(8, kCoded, kCoded);
  const AttendSequence sequence = make_sequence(pages, 1);
  AttendArgs args = make_args({&sequence, 1});
  CHECK(plan_attend(args, kTensor)[0].floors.empty());
  args.sparse_values = {0.1F, sequence.n_token + 1};
  CHECK(plan_attend(args, kTensor)[0].floors.empty());
  args.sparse_values = {0.1F, sequence.n_token};
  const auto waves = plan_attend(args, kTensor);
  REQUIRE(waves[0].floors.size() == 1);
  CHECK(waves[0].floors[0].page_end == 8);
}

}  // namespace
}  // namespace kvault::cuda
