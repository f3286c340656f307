#pragma once

#include <limits>
#include <memory>
#include <vector>

#include "gpu_cuda/attend.hpp"

namespace kvault::cuda {

/// An attend that comes again for a growing sequence: what is launched is the same every time, for
/// as many pages as there may ever be; lengths and page tables stand on the device, where update()
/// changes them and kernels read them. So launches can be captured to a graph and replayed.
class StandingAttend {
 public:
  StandingAttend(std::shared_ptr<Runtime> runtime, std::uint64_t n_page_max);
  StandingAttend(const StandingAttend&) = delete;
  StandingAttend& operator=(const StandingAttend&) = delete;
  ~StandingAttend();

  /// Has the tables say what `args` do, for what is enqueued next; memory is taken the first time.
  /// pre: nothing differs from the time before but lengths, positions and pages
  Result<> update(const AttendArgs& args);
  /// Enqueues kernels and nothing else. pre: updated
  Result<> enqueue();

  /// Attends of the runtime's device are updates of this for as long as it lives.
  class Scope {
   public:
    explicit Scope(StandingAttend& standing) : runtime_(*standing.runtime_) {
      runtime_.set_standing(&standing);
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() { runtime_.set_standing(nullptr); }

   private:
    Runtime& runtime_;
  };

 private:
  std::shared_ptr<Runtime> runtime_;
  std::uint64_t n_page_max_;
  KeptTables tables_;
  CallMemory scratch_;
  std::vector<AttendLaunch> launches_;
};

}  // namespace kvault::cuda
