#include "tests/cuda_emulator/thread_block.hpp"

#include <boost/context/preallocated.hpp>
#include <cstdio>
#include <cstdlib>

namespace kvault::cuda::emulator {
namespace {

constexpr std::size_t kStackBytes = std::size_t{128} << 10U;

/// Stacks belong to the block and are used again.
struct BorrowedStack {
  boost::context::stack_context allocate() { std::abort(); }
  void deallocate(boost::context::stack_context&) {}
};

}  // namespace

Current& current() {
  thread_local Current value;
  return value;
}

const WarpOperands& exchange(std::string_view what, std::initializer_list<std::uint32_t> operands) {
  Operands all = {};
  std::copy(operands.begin(), operands.end(), all.begin());
  return current().block->exchange(what, all);
}

ThreadBlock::ThreadBlock(const LaunchShape& shape)
    : shape_(shape),
      shared_(shape.shared_bytes),
      threads_(shape.n_thread),
      warps_((shape.n_thread + kLanes - 1) / kLanes) {
  if (shape.n_thread % kLanes != 0) {
    std::fprintf(stderr, "cuda emulator: %u threads are no whole warps\n", shape.n_thread);
    std::abort();
  }
  for (Thread& thread : threads_) thread.stack = std::make_unique<std::byte[]>(kStackBytes);
}

void ThreadBlock::start(Thread& thread, const std::function<void()>& kernel) {
  boost::context::stack_context stack;
  stack.size = kStackBytes;
  stack.sp = thread.stack.get() + kStackBytes;
  thread.n_exchange = 0;
  thread.is_done = false;
  thread.fiber = boost::context::fiber(
      std::allocator_arg, boost::context::preallocated(stack.sp, stack.size, stack),
      BorrowedStack{}, [this, &thread, &kernel](boost::context::fiber&& scheduler) {
        thread.scheduler = std::move(scheduler);
        kernel();
        thread.is_done = true;
        ++n_done_;
        has_progress_ = true;
        return std::move(thread.scheduler);
      });
}

void ThreadBlock::run(std::uint32_t block_index, const std::function<void()>& kernel) {
  block_index_ = block_index;
  n_done_ = n_at_block_sync_ = 0;
  n_block_sync_ = 0;
  // What a kernel finds there is as undefined as on a GPU.
  std::fill(shared_.begin(), shared_.end(), static_cast<unsigned char>(0xFF));
  for (Warp& warp : warps_) warp = {};
  for (Thread& thread : threads_) start(thread, kernel);
  const auto n_warp = static_cast<std::uint32_t>(warps_.size());
  while (n_done_ < shape_.n_thread) {
    bool is_stuck = true;
    for (std::uint32_t i = 0; i < n_warp; ++i) {
      if (run_warp(block_index % 2 == 0 ? i : n_warp - 1 - i)) is_stuck = false;
    }
    if (is_stuck) end_stuck();
  }
}

bool ThreadBlock::run_warp(std::uint32_t warp) {
  bool ran = false;
  do {
    has_progress_ = false;
    for (std::uint32_t lane = 0; lane < kLanes; ++lane) resume(warp * kLanes + lane);
    ran = ran || has_progress_;
  } while (has_progress_);
  return ran;
}

void ThreadBlock::resume(std::uint32_t index) {
  Thread& thread = threads_[index];
  if (thread.is_done) return;
  current() = {this, index};
  thread.fiber = std::move(thread.fiber).resume();
}

void ThreadBlock::yield() {
  const std::uint32_t index = current().thread;
  Thread& thread = threads_[index];
  thread.scheduler = std::move(thread.scheduler).resume();
  current() = {this, index};
}

void ThreadBlock::sync_block() {
  const std::uint64_t own = n_block_sync_;
  has_progress_ = true;
  if (++n_at_block_sync_ == shape_.n_thread) {
    n_at_block_sync_ = 0;
    ++n_block_sync_;
    return;
  }
  while (n_block_sync_ == own) yield();
}

const WarpOperands& ThreadBlock::exchange(std::string_view what, const Operands& operands) {
  const std::uint32_t index = current().thread;
  Thread& thread = threads_[index];
  Warp& warp = warps_[index / kLanes];
  const std::uint64_t own = thread.n_exchange++;
  if (warp.n_arrived == 0) warp.what = what;
  if (warp.what != what) {
    std::fprintf(stderr, "cuda emulator: lanes of a warp came to %s and to %s\n",
                 std::string(warp.what).c_str(), std::string(what).c_str());
    std::abort();
  }
  has_progress_ = true;
  warp.operands[own % 2][index % kLanes] = operands;
  if (++warp.n_arrived == kLanes) {
    warp.n_arrived = 0;
    ++warp.n_complete;
  }
  while (warp.n_complete <= own) yield();
  return warp.operands[own % 2];
}

void ThreadBlock::end_stuck() const {
  std::fprintf(
      stderr,
      "cuda emulator: block %u is stuck: of %u threads %u are done, %u wait for the block\n",
      block_index_, shape_.n_thread, n_done_, n_at_block_sync_);
  std::abort();
}

}  // namespace kvault::cuda::emulator
