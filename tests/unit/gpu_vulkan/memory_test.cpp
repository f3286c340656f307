#include "gpu_vulkan/memory.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "gpu_vulkan/arena.hpp"
#include "tests/support/random.hpp"
#include "tests/support/skip.hpp"
#include "tests/unit/gpu_vulkan/faulty_driver.hpp"

namespace kvault::vulkan {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;
constexpr std::uint64_t kBlockSizeBytes = 64 * kMiB;

bool overlap(const MemoryRange& a, const MemoryRange& b) {
  return a.buffer == b.buffer && a.offset_bytes < b.offset_bytes + b.size_bytes &&
         b.offset_bytes < a.offset_bytes + a.size_bytes;
}

/// Whether its address and its place for the host are those of its offset.
bool is_consistent(const MemoryRange& range) {
  const MemoryRange whole = range.block->whole();
  return range.buffer == whole.buffer && range.address == whole.address + range.offset_bytes &&
         range.offset_bytes + range.size_bytes <= whole.size_bytes &&
         (whole.host == nullptr ? range.host == nullptr
                                : range.host == whole.host + range.offset_bytes);
}

TEST_CASE("vulkan memory: ranges never overlap, and all that came back is whole again") {
  test::FaultyDriver driver;
  if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
  for (const MemoryKind kind : {MemoryKind::device, MemoryKind::upload, MemoryKind::download}) {
    driver.faults().memory_left_bytes = std::numeric_limits<std::uint64_t>::max();
    MemoryPool pool(*driver.context(), kind);
    test::Random random(static_cast<std::uint64_t>(kind));
    std::vector<MemoryRange> taken;
    std::size_t n_wrong = 0;
    for (int step = 0; step < 2000; ++step) {
      if (!taken.empty() && random.integer(0, 99) < (step % 500 < 250 ? 40U : 65U)) {
        const std::size_t i = random.next() % taken.size();
        pool.give_back(taken[i]);
        taken.erase(taken.begin() + static_cast<std::ptrdiff_t>(i));
        continue;
      }
      const std::uint64_t size_bytes = random.integer(1, 1U << random.integer(1, 23));
      const Result<MemoryRange> range = pool.take(size_bytes);
      REQUIRE(range);
      if (range->offset_bytes % 256 != 0 || range->address % 256 != 0) ++n_wrong;
      if (range->size_bytes < size_bytes || !is_consistent(*range)) ++n_wrong;
      if ((range->host != nullptr) != (kind != MemoryKind::device)) ++n_wrong;
      for (const MemoryRange& other : taken) n_wrong += overlap(*range, other) ? 1 : 0;
      taken.push_back(*range);
    }
    CHECK(n_wrong == 0);
    for (const MemoryRange& range : taken) pool.give_back(range);
    // One block is kept, and nothing of it is missing.
    driver.faults().memory_left_bytes = 0;
    const Result<MemoryRange> whole = pool.take(kBlockSizeBytes);
    REQUIRE(whole);
    CHECK(whole->offset_bytes == 0);
    CHECK(pool.take(1).error().code == Errc::out_of_memory);
    pool.give_back(*whole);
  }
}

TEST_CASE("vulkan memory: neighbours merge in whatever order they come back") {
  const auto context = test::open_context();
  if (context == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  std::vector<std::size_t> order = {0, 1, 2, 3};
  do {
    MemoryPool pool(*context, MemoryKind::device);
    std::vector<MemoryRange> quarters;
    for (int i = 0; i < 4; ++i) quarters.push_back(*pool.take(kBlockSizeBytes / 4));
    for (const std::size_t i : order) pool.give_back(quarters[i]);
    const Result<MemoryRange> whole = pool.take(kBlockSizeBytes);
    REQUIRE(whole);
    CHECK(whole->block == quarters[0].block);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_CASE("vulkan memory: a request larger than a block has one of its own") {
  const auto context = test::open_context();
  if (context == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  MemoryPool pool(*context, MemoryKind::upload);
  const Result<MemoryRange> small = pool.take(1);
  const Result<MemoryRange> large = pool.take(kBlockSizeBytes + 1);
  REQUIRE(small);
  REQUIRE(large);
  CHECK(large->block != small->block);
  CHECK(large->size_bytes >= kBlockSizeBytes + 1);
  large->host[0] = std::byte{1};
  large->host[kBlockSizeBytes] = std::byte{2};
  pool.give_back(*large);
  pool.give_back(*small);
}

TEST_CASE("vulkan memory: what no device has is out of memory, and the pool goes on") {
  const auto context = test::open_context();
  if (context == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  MemoryPool pool(*context, MemoryKind::device);
  for (const std::uint64_t size_bytes :
       {std::uint64_t{1} << 45U, std::numeric_limits<std::uint64_t>::max() - 300,
        std::numeric_limits<std::uint64_t>::max()}) {
    const Result<MemoryRange> range = pool.take(size_bytes);
    REQUIRE_FALSE(range);
    CHECK(range.error().code == Errc::out_of_memory);
  }
  CHECK(pool.take(1000));
}

TEST_CASE("vulkan memory: where a block has no room, what was asked for may have") {
  test::FaultyDriver driver;
  if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
  driver.faults().memory_left_bytes = 10 * kMiB;
  MemoryPool pool(*driver.context(), MemoryKind::device);
  const Result<MemoryRange> first = pool.take(6 * kMiB);
  REQUIRE(first);
  const Result<MemoryRange> second = pool.take(6 * kMiB);
  REQUIRE_FALSE(second);
  CHECK(second.error().code == Errc::out_of_memory);
  CHECK(second.error().message.find("6291456 bytes of") != std::string::npos);
  CHECK(pool.take(4 * kMiB));
}

TEST_CASE("vulkan memory: more than a heap holds is not even asked for") {
  test::FaultyDriver driver;
  if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
  VkPhysicalDeviceMemoryProperties2 properties = {};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2;
  driver.context()->api().vkGetPhysicalDeviceMemoryProperties2(driver.context()->adapter().handle,
                                                               &properties);
  driver.faults().memory = properties.memoryProperties;
  for (VkMemoryHeap& heap : driver.faults().memory.memoryHeaps) heap.size = 3 * kMiB;
  driver.borrow();
  driver.faults().memory_left_bytes = 1000 * kMiB;
  MemoryPool pool(*driver.context(), MemoryKind::device);
  CHECK(pool.take(4 * kMiB).error().code == Errc::out_of_memory);
  CHECK(driver.faults().memory_left_bytes == 1000 * kMiB);
  CHECK(pool.take(2 * kMiB));
}

TEST_CASE("vulkan memory: more than the driver's budget is not taken, even if it would be given") {
  test::FaultyDriver driver;
  if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
  driver.faults().budget_bytes = 3 * kMiB;
  driver.borrow();
  driver.faults().memory_left_bytes = 1000 * kMiB;
  CHECK(driver.context()->memory_budget_bytes() >= 3 * kMiB);  // of each heap
  CHECK(driver.context()->memory_budget_bytes() <= 3 * kMiB * VK_MAX_MEMORY_HEAPS);
  for (const MemoryKind kind : {MemoryKind::device, MemoryKind::upload, MemoryKind::download}) {
    MemoryPool pool(*driver.context(), kind);
    const Result<MemoryRange> refused = pool.take(4 * kMiB);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == Errc::out_of_memory);
    CHECK(refused.error().message.find("4194304 bytes, but 3145728 are left") != std::string::npos);
    const Result<MemoryRange> given = pool.take(2 * kMiB);
    REQUIRE(given);
    pool.give_back(*given);
  }
  CHECK(driver.faults().memory_left_bytes == (1000 - 3 * 2) * kMiB);
  // As soon as another process gives its memory back there is room.
  driver.faults().budget_bytes = 500 * kMiB;
  MemoryPool pool(*driver.context(), MemoryKind::device);
  CHECK(pool.take(4 * kMiB));
}

TEST_CASE("vulkan arena: a chunk comes round only after its batch was waited for") {
  const auto context = test::open_context();
  if (context == nullptr) KVAULT_TEST_SKIP("no Vulkan driver");
  MemoryPool pool(*context, MemoryKind::upload);
  Result<std::unique_ptr<Stream>> stream = Stream::create(*context);
  REQUIRE(stream);
  Arena arena(pool, **stream);
  const auto take = [&](std::uint64_t size_bytes) {
    const Result<MemoryRange> range = arena.take(size_bytes);
    REQUIRE(range);
    CHECK(range->address % 64 == 0);
    CHECK(range->size_bytes >= size_bytes);
    return *range;
  };
  const MemoryRange first = take(1);
  const MemoryRange second = take(4 * kMiB - 64);
  const MemoryRange third = take(1000);
  CHECK(!overlap(first, second));
  CHECK(!overlap(first, third));
  CHECK(!overlap(second, third));
  REQUIRE((*stream)->commands());
  REQUIRE((*stream)->submit());
  // Handed in, perhaps done already, but nobody has fetched its results.
  const MemoryRange later = take(1000);
  for (const MemoryRange& busy : {first, second, third}) CHECK(!overlap(later, busy));
  REQUIRE((*stream)->wait(1));
  CHECK(take(1).address == first.address);
  CHECK(!overlap(take(1000), later));
}

TEST_CASE("vulkan arena: a request that grows from call to call leaves nothing behind") {
  test::FaultyDriver driver;
  if (!driver.is_there()) KVAULT_TEST_SKIP("no Vulkan driver");
  driver.faults().memory_left_bytes = 3 * kBlockSizeBytes;
  MemoryPool pool(*driver.context(), MemoryKind::device);
  Result<std::unique_ptr<Stream>> stream = Stream::create(*driver.context());
  REQUIRE(stream);
  Arena arena(pool, **stream);
  for (std::uint64_t size_bytes = 5 * kMiB; size_bytes < 30 * kMiB; size_bytes += kMiB) {
    REQUIRE(arena.take(size_bytes));
    REQUIRE((*stream)->commands());
    REQUIRE((*stream)->wait((*stream)->open_value()));
  }
  CHECK(arena.take(std::numeric_limits<std::uint64_t>::max()).error().code == Errc::out_of_memory);
}

}  // namespace
}  // namespace kvault::vulkan
