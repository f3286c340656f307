#pragma once

#include <deque>
#include <map>
#include <vector>

#include "gpu_cuda/kernels.hpp"

namespace kvault::cuda {

/// How long kernels take on the device, for those who make them fast: with KVAULT_CUDA_TIMES=1 in
/// the environment a device that is closed says so on standard error, a line for every kernel.
class LaunchTimes {
 public:
  explicit LaunchTimes(const Context& context);
  LaunchTimes(const LaunchTimes&) = delete;
  LaunchTimes& operator=(const LaunchTimes&) = delete;
  /// The stream has to be drained.
  ~LaunchTimes();

  /// Around a launch.
  void begin(CUstream stream);
  void end(Kernel kernel, CUstream stream);

 private:
  struct Launch {
    Kernel kernel;
    CUevent begin;
    CUevent end;
  };

  CUevent take_event();
  void collect(bool waits);

  const Context& context_;
  bool is_on_;
  CUevent open_ = nullptr;
  std::deque<Launch> launches_;  ///< whose time is not known yet
  std::vector<CUevent> idle_events_;
  std::map<Kernel, std::vector<float>> times_us_;
};

}  // namespace kvault::cuda
