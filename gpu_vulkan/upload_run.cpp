#include "gpu_vulkan/upload_run.hpp"

#include <algorithm>

namespace kvault::vulkan {
namespace {

/// As many as are compared faster than a barrier is recorded.
constexpr std::size_t kPlacesMax = 64;

}  // namespace

Result<> UploadRun::begin(const MemoryRange& range, std::uint64_t offset_bytes,
                          std::uint64_t size_bytes) {
  const Place place = {range.buffer, range.offset_bytes + offset_bytes,
                       range.offset_bytes + offset_bytes + size_bytes};
  const auto overlaps = [&](const Place& other) {
    return other.buffer == place.buffer && other.begin_bytes < place.end_bytes &&
           place.begin_bytes < other.end_bytes;
  };
  const bool goes_on = n_recorded_ == stream_.n_recorded() && places_.size() < kPlacesMax &&
                       std::none_of(places_.begin(), places_.end(), overlaps);
  if (!goes_on) {
    KVAULT_CHECK(stream_.barrier());
    places_.clear();
  }
  places_.push_back(place);
  return {};
}

}  // namespace kvault::vulkan
