#pragma once

#include <array>
#include <boost/context/fiber.hpp>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string_view>
#include <vector>

namespace kvault::cuda::emulator {

inline constexpr std::uint32_t kLanes = 32;
/// What a lane brings to something that its warp does together.
using Operands = std::array<std::uint32_t, 6>;
using WarpOperands = std::array<Operands, kLanes>;

struct LaunchShape {
  std::uint32_t n_block = 0;
  std::uint32_t n_thread = 0;
  std::uint32_t shared_bytes = 0;
};

/// Runs the threads of one block, each as a fiber. A warp runs as far as it can before the next one
/// does, a lane to the next meeting of its warp, in odd blocks from the last warp to the first, so
/// that what is not synchronised shows. Where threads can never meet, or not at the same place, the
/// process ends and says so.
class ThreadBlock {
 public:
  explicit ThreadBlock(const LaunchShape& shape);

  void run(std::uint32_t block_index, const std::function<void()>& kernel);

  std::uint32_t n_thread() const { return shape_.n_thread; }
  std::uint32_t n_block() const { return shape_.n_block; }
  std::uint32_t block_index() const { return block_index_; }
  unsigned char* shared_memory() { return shared_.data(); }

  void sync_block();
  /// Returns what all lanes of the warp brought; valid until the lane's next exchange.
  const WarpOperands& exchange(std::string_view what, const Operands& operands);

 private:
  struct Thread {
    std::unique_ptr<std::byte[]> stack;
    boost::context::fiber fiber;
    boost::context::fiber scheduler;
    std::uint64_t n_exchange = 0;
    bool is_done = false;
  };
  struct Warp {
    std::array<WarpOperands, 2> operands = {};
    std::string_view what;
    std::uint64_t n_complete = 0;  ///< exchanges that all lanes have come to
    std::uint32_t n_arrived = 0;
  };

  void start(Thread& thread, const std::function<void()>& kernel);
  /// Until all of its lanes wait for other warps; false: they still do.
  bool run_warp(std::uint32_t warp);
  void resume(std::uint32_t index);
  void yield();
  void end_stuck() const;

  LaunchShape shape_;
  std::uint32_t block_index_ = 0;
  std::vector<unsigned char> shared_;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::uint32_t n_done_ = 0;
  std::uint64_t n_block_sync_ = 0;  ///< that all threads have come to
  std::uint32_t n_at_block_sync_ = 0;
  bool has_progress_ = false;
};

/// The thread that runs now.
struct Current {
  ThreadBlock* block = nullptr;
  std::uint32_t thread = 0;
};
Current& current();

const WarpOperands& exchange(std::string_view what, std::initializer_list<std::uint32_t> operands);

}  // namespace kvault::cuda::emulator
