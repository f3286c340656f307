#pragma once

#include <vector>

#include "core/device/device.hpp"
#include "gpu_cuda/attend_plan.hpp"
#include "gpu_cuda/runtime.hpp"

namespace kvault::cuda {

/// A kernel of an attend, whose tables stand on the device.
struct AttendLaunch {
  Kernel kernel;
  AttendParams params;
  std::uint64_t n_block;
};

/// Where an attend that comes again stands, which is always the same place.
struct StandingPlaces {
  KeptTables& tables;
  CallMemory& scratch;
  std::uint64_t n_page_max;  ///< of every sequence; the first page is page 0
};

/// Device::attend, on the runtime's stream.
Result<> hand_in_attend(Runtime& runtime, const AttendArgs& args);

/// The launches of an attend, with its tables on their way; nothing is launched. They are the same
/// for as long as nothing but lengths, positions and pages differs. pre: on_device
Result<std::vector<AttendLaunch>> lay_attend(Runtime& runtime, const AttendArgs& args,
                                             const StandingPlaces& places);

}  // namespace kvault::cuda
