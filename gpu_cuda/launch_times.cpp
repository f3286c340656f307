#include "gpu_cuda/launch_times.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <string_view>

namespace kvault::cuda {

LaunchTimes::LaunchTimes(const Context& context) : context_(context) {
  const char* const asked = std::getenv("KVAULT_CUDA_TIMES");
  is_on_ = asked != nullptr && std::string_view(asked) == "1";
}

LaunchTimes::~LaunchTimes() {
  const Context::Scope scope(context_);
  collect(true);
  for (CUevent event : idle_events_) (void)context_.api().cuEventDestroy(event);
  for (auto& [kernel, times] : times_us_) {
    std::sort(times.begin(), times.end());
    const double sum_us = std::accumulate(times.begin(), times.end(), 0.0);
    std::fprintf(
        stderr, "cuda kernel %s: %zu launches, median %.2f us, least %.2f us, mean %.2f us\n",
        Kernels::symbol(kernel), times.size(), static_cast<double>(times[times.size() / 2]),
        static_cast<double>(times.front()), sum_us / static_cast<double>(times.size()));
  }
}

CUevent LaunchTimes::take_event() {
  CUevent event = nullptr;
  if (idle_events_.empty()) {
    if (context_.api().cuEventCreate(&event, CU_EVENT_DEFAULT) != CUDA_SUCCESS) is_on_ = false;
    return event;
  }
  event = idle_events_.back();
  idle_events_.pop_back();
  return event;
}

void LaunchTimes::begin(CUstream stream) {
  if (!is_on_) return;
  collect(false);
  open_ = take_event();
  if (is_on_) (void)context_.api().cuEventRecord(open_, stream);
}

void LaunchTimes::end(Kernel kernel, CUstream stream) {
  if (!is_on_) return;
  CUevent event = take_event();
  if (!is_on_) return;
  (void)context_.api().cuEventRecord(event, stream);
  launches_.push_back({kernel, open_, event});
}

void LaunchTimes::collect(bool waits) {
  const Api& api = context_.api();
  while (!launches_.empty()) {
    const Launch launch = launches_.front();
    if (waits) (void)api.cuEventSynchronize(launch.end);
    float time_ms = 0;
    if (api.cuEventElapsedTime(&time_ms, launch.begin, launch.end) != CUDA_SUCCESS) {
      if (!waits) return;
    } else {
      times_us_[launch.kernel].push_back(time_ms * 1000);
    }
    idle_events_.push_back(launch.begin);
    idle_events_.push_back(launch.end);
    launches_.pop_front();
  }
}

}  // namespace kvault::cuda
