#include "tools/bench/read_bandwidth.hpp"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tools/bench/read_bandwidth.cpp"
#include "core/cpu/simd_targets.hpp"

#include <hwy/foreach_target.h>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace kvault::tools {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// The OR of all bytes, so that no load can be left out. `size_bytes` is a multiple of kStepBytes.
/// Eight places at once, each looked ahead of: a few per cent more than one place gives.
std::uint64_t ReadAll(const std::byte* bytes, std::size_t size_bytes) {
  constexpr std::size_t kPlaces = 8;
  constexpr std::size_t kBlockBytes = 256;
  constexpr std::size_t kAheadBytes = 1024;
  const hn::ScalableTag<std::uint64_t> d;
  const std::size_t n_lane = hn::Lanes(d);
  const std::size_t place_bytes = size_bytes / kPlaces;
  auto even = hn::Zero(d);
  auto odd = even;
  for (std::size_t i = 0; i < place_bytes; i += kBlockBytes) {
    for (std::size_t place = 0; place < kPlaces; ++place) {
      const std::byte* const block = bytes + place * place_bytes + i;
      for (std::size_t line = 0; line < kBlockBytes; line += 64) {
        hwy::Prefetch(block + kAheadBytes + line);
      }
      const auto* const words = reinterpret_cast<const std::uint64_t*>(block);
      for (std::size_t word = 0; word < kBlockBytes / 8; word += 2 * n_lane) {
        even = hn::Or(even, hn::LoadU(d, words + word));
        odd = hn::Or(odd, hn::LoadU(d, words + word + n_lane));
      }
    }
  }
  HWY_ALIGN std::uint64_t lanes[HWY_MAX_BYTES / 8] = {};
  hn::Store(hn::Or(even, odd), d, lanes);
  std::uint64_t all = 0;
  for (const std::uint64_t lane : lanes) all |= lane;
  return all;
}

}  // namespace HWY_NAMESPACE
}  // namespace kvault::tools
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace kvault::tools {
namespace {

HWY_EXPORT(ReadAll);

constexpr std::size_t kStepBytes = 2048;
/// Of one visit: long against the start of a thread, short against a round.
constexpr std::size_t kVisitBytes = std::size_t{64} << 20U;

struct Interval {
  BenchClock::time_point start;
  BenchClock::time_point end;
  std::uint64_t check = 0;
};

}  // namespace

Result<double> ReadBandwidth::visit_us() {
  std::size_t n_left = kVisitBytes;
  double time_us = 0;
  while (n_left >= kStepBytes) {
    const std::size_t n = std::min(n_left, memory_.size() - next_) / kStepBytes * kStepBytes;
    if (n > 0) time_us += read_us(memory_.subspan(next_, n));
    n_left -= n;
    next_ += n;
    if (memory_.size() - next_ < kStepBytes) next_ = 0;
  }
  return time_us * static_cast<double>(kTimedBytes) / static_cast<double>(kVisitBytes - n_left);
}

double ReadBandwidth::read_us(std::span<const std::byte> part) {
  std::vector<Interval> intervals(n_thread_);
  std::atomic<std::uint32_t> n_waiting{n_thread_};
  const std::size_t n_step = part.size() / kStepBytes;
  const auto read_part = [&](std::uint32_t thread) {
    const std::size_t first = n_step * thread / n_thread_ * kStepBytes;
    const std::size_t last = n_step * (thread + 1) / n_thread_ * kStepBytes;
    n_waiting.fetch_sub(1);
    while (n_waiting.load() > 0) std::this_thread::yield();
    intervals[thread].start = BenchClock::now();
    intervals[thread].check = HWY_DYNAMIC_DISPATCH(ReadAll)(part.data() + first, last - first);
    intervals[thread].end = BenchClock::now();
  };
  std::vector<std::thread> threads;
  for (std::uint32_t i = 1; i < n_thread_; ++i) threads.emplace_back(read_part, i);
  read_part(0);
  for (std::thread& thread : threads) thread.join();
  Interval all = intervals.front();
  for (const Interval& one : intervals) {
    all.start = std::min(all.start, one.start);
    all.end = std::max(all.end, one.end);
    check_ |= one.check;
  }
  return std::chrono::duration<double, std::micro>(all.end - all.start).count();
}

}  // namespace kvault::tools
#endif  // HWY_ONCE
