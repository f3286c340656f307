#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <new>
#include <set>
#include <thread>

#include "sdk/adapters/llama/src/parts_ahead.hpp"

// Parts of a state that a second thread makes while the first is taken: whole, in order, and what
// goes wrong with one is told to whoever asks for it.

namespace kvault::llama {
namespace {

Blob part_of(std::uint64_t part, Blob memory) {
  memory.clear();
  const std::span<std::byte> bytes = memory.grow(100'000);
  std::memset(bytes.data(), static_cast<int>(part), bytes.size());
  return memory;
}

bool is_part(const Blob& blob, std::uint64_t part) {
  const Blob expected = part_of(part, {});
  return blob.bytes().size() == expected.bytes().size() &&
         std::memcmp(blob.bytes().data(), expected.bytes().data(), blob.bytes().size()) == 0;
}

TEST_CASE("short: parts ahead: all of them, in order, in the memory of those that are done with") {
  for (const std::uint64_t n_part : {1U, 2U, 3U, 40U}) {
    CAPTURE(n_part);
    std::set<const std::byte*> memories;
    PartsAhead ahead([](std::uint64_t part,
                        Blob memory) -> Result<Blob> { return part_of(part, std::move(memory)); },
                     1, n_part);
    for (std::uint64_t part = 1; part < n_part; ++part) {
      Result<Blob> made = ahead.next();
      REQUIRE(made);
      CHECK(is_part(*made, part));
      memories.insert(made->bytes().data());
      ahead.give_back(std::move(*made));
    }
    CHECK(memories.size() <= 4);
  }
}

TEST_CASE("short: parts ahead: no part is made far ahead, and none behind one that failed") {
  std::atomic<std::uint64_t> n_begun = 0;
  PartsAhead ahead(
      [&](std::uint64_t part, Blob memory) -> Result<Blob> {
        ++n_begun;
        if (part == 6) return fail(Errc::corrupt, "part 6");
        return part_of(part, std::move(memory));
      },
      1, 100);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(n_begun <= 3);
  for (std::uint64_t part = 1; part < 6; ++part) {
    const Result<Blob> made = ahead.next();
    REQUIRE(made);
    CHECK(is_part(*made, part));
  }
  const Result<Blob> refused = ahead.next();
  REQUIRE(!refused);
  CHECK(refused.error().message == "part 6");
  CHECK(n_begun == 6);
}

TEST_CASE("short: parts ahead: what making one throws reaches the caller, behind those before it") {
  PartsAhead ahead(
      [](std::uint64_t part, Blob memory) -> Result<Blob> {
        if (part == 3) throw std::bad_alloc();
        return part_of(part, std::move(memory));
      },
      1, 9);
  for (std::uint64_t part = 1; part < 3; ++part) {
    const Result<Blob> made = ahead.next();
    REQUIRE(made);
    CHECK(is_part(*made, part));
  }
  CHECK_THROWS_AS(static_cast<void>(ahead.next()), std::bad_alloc);
}

TEST_CASE("short: parts ahead: whoever has enough goes, whatever is being made") {
  for (int n_taken = 0; n_taken < 4; ++n_taken) {
    std::atomic<int> n_making = 0;
    {
      PartsAhead ahead(
          [&](std::uint64_t part, Blob memory) -> Result<Blob> {
            ++n_making;
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
            --n_making;
            return part_of(part, std::move(memory));
          },
          0, 50);
      for (int i = 0; i < n_taken; ++i) CHECK(ahead.next().has_value());
    }
    CHECK(n_making == 0);
  }
}

}  // namespace
}  // namespace kvault::llama
