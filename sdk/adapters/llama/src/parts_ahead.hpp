#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "core/base/result.hpp"
#include "sdk/adapters/llama/src/blob.hpp"

namespace kvault::llama {

/// Makes the parts of a state on a thread of its own while llama.cpp takes those before them; where
/// the system has no thread they are made when they are asked for. The memory of parts that are
/// done with is used again, so that it stays in the processor's cache.
class PartsAhead {
 public:
  /// Makes part number `part`, in this memory; called for one part at a time.
  using Make = std::function<Result<Blob>(std::uint64_t part, Blob memory)>;

  /// Parts [first, end) will be asked for.
  PartsAhead(Make make, std::uint64_t first, std::uint64_t end);
  PartsAhead(const PartsAhead&) = delete;
  PartsAhead& operator=(const PartsAhead&) = delete;
  ~PartsAhead();

  /// The next part. Throws what making it threw. pre: fewer than end - first were asked for
  Result<Blob> next();
  void give_back(Blob memory);

 private:
  void work();
  Blob take_spare();

  Make make_;
  std::uint64_t next_;
  std::uint64_t end_;
  std::mutex mutex_;  ///< over all that follows
  std::condition_variable changed_;
  std::deque<Result<Blob>> made_;
  std::vector<Blob> spare_;
  std::exception_ptr thrown_;
  bool is_ending_ = false;
  std::thread thread_;
};

}  // namespace kvault::llama
