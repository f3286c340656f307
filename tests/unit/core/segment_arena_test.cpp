#include "core/cpu/segment_arena.hpp"

#include <doctest/doctest.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <thread>
#include <vector>

#include "tests/support/random.hpp"
#include "tests/support/skip.hpp"

namespace kvault::cpu {
namespace {

constexpr std::size_t kSegmentBytes = 135 * 1024 + 1;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kHasSanitizer = true;
#else
constexpr bool kHasSanitizer = false;
#endif

/// A piece that is filled with a byte of its own, so that overlaps show.
struct Marked {
  SegmentArena::Piece piece;
  std::byte mark;

  Marked(SegmentArena& arena, std::size_t size_bytes, std::byte byte)
      : piece(arena.take(size_bytes)), mark(byte) {
    std::memset(piece.bytes().data(), static_cast<int>(mark), piece.bytes().size());
  }
  bool is_intact() const {
    const auto bytes = piece.bytes();
    return std::all_of(bytes.begin(), bytes.end(), [&](std::byte b) { return b == mark; });
  }
};

/// In a process that may have no more than 4 GiB: pieces until there is no memory for another, then
/// again after some were given back. 0: all as it should be.
int run_out_of_memory() {
  const rlimit limit = {std::size_t{4} << 30U, std::size_t{4} << 30U};
  if (setrlimit(RLIMIT_AS, &limit) != 0) return 1;
  const auto arena = SegmentArena::create();
  std::vector<SegmentArena::Piece> pieces;
  pieces.reserve(10000);
  for (int round = 0; round < 3; ++round) {
    bool is_refused = false;
    while (!is_refused && pieces.size() < 10000) {
      try {
        pieces.push_back(arena->take(SegmentArena::kPieceBytesMax));
      } catch (const std::bad_alloc&) {
        is_refused = true;
      }
    }
    if (!is_refused || pieces.size() < 100) return 2;
    pieces.resize(pieces.size() / 2);
  }
  return 0;
}

}  // namespace

TEST_CASE("segment arena: without memory there is no piece, and those that are stay") {
  if (kHasSanitizer) KVAULT_TEST_SKIP("sanitizers need more addresses than the test allows");
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) _exit(run_out_of_memory());
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("segment arena: pieces of all sizes, in any order, never overlap and are aligned") {
  test::Random random(4711);
  const auto arena = SegmentArena::create();
  std::vector<Marked> pieces;
  for (std::uint32_t step = 0; step < 3000; ++step) {
    if (!pieces.empty() && random.integer(0, 2) == 0) {
      const auto at =
          static_cast<std::size_t>(random.integer(0, static_cast<int>(pieces.size()) - 1));
      CHECK(pieces[at].is_intact());
      std::swap(pieces[at], pieces.back());
      pieces.pop_back();
      continue;
    }
    const bool is_large = random.integer(0, 30) == 0;
    const int most = is_large ? static_cast<int>(SegmentArena::kPieceBytesMax) : 5000;
    const auto size_bytes = static_cast<std::size_t>(random.integer(1, most));
    pieces.emplace_back(*arena, size_bytes, static_cast<std::byte>(step));
    CHECK(pieces.back().piece.bytes().size() == size_bytes);
    CHECK(reinterpret_cast<std::uintptr_t>(pieces.back().piece.bytes().data()) % 128 == 0);
  }
  for (const Marked& one : pieces) CHECK(one.is_intact());
  pieces.clear();
  CHECK(arena->n_chunk() == 1);  // the one that new pieces come from
}

TEST_CASE("segment arena: what a window lets go of serves what comes after it") {
  const auto arena = SegmentArena::create();
  std::vector<Marked> stays;
  std::vector<Marked> window;
  for (std::uint32_t page = 0; page < 2000; ++page) {
    if (page % 50 == 0) stays.emplace_back(*arena, kSegmentBytes, std::byte{0xA5});
    window.emplace_back(*arena, kSegmentBytes, static_cast<std::byte>(page));
    if (window.size() > 4) window.erase(window.begin());
  }
  // 40 that stay and five that come and go: 2040 of them would fill 34 chunks.
  CHECK(arena->n_chunk() == 1);
  for (const Marked& one : stays) CHECK(one.is_intact());
}

TEST_CASE("segment arena: chunks go back to the system once nobody has a piece of them") {
  const auto arena = SegmentArena::create();
  std::vector<SegmentArena::Piece> pieces;
  for (int i = 0; i < 300; ++i) pieces.push_back(arena->take(kSegmentBytes));
  const std::size_t most = arena->n_chunk();
  CHECK(most == 5);  // 60 of them fill one
  pieces.resize(60);
  CHECK(arena->n_chunk() == 2);  // theirs, and the newest
}

TEST_CASE("segment arena: pieces outlive whoever made the arena, and threads share it") {
  auto arena = SegmentArena::create();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([arena, i] {
      std::vector<Marked> pieces;
      for (int round = 0; round < 300; ++round) {
        pieces.emplace_back(*arena, 1000 + 100 * static_cast<std::size_t>(i),
                            static_cast<std::byte>(16 * i + round % 16));
        if (pieces.size() < 8) continue;
        for (const Marked& one : pieces) {
          if (!one.is_intact()) std::abort();
        }
        pieces.erase(pieces.begin(), pieces.begin() + 5);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Marked last(*arena, 5000, std::byte{7});
  arena.reset();
  CHECK(last.is_intact());
}

}  // namespace kvault::cpu
