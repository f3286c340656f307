#pragma once

#include <map>
#include <vector>

#include "gpu_vulkan/attend_tables.hpp"

namespace kvault::vulkan {

/// Tiles and items that share a dispatch and its scratch.
struct AttendWave {
  AttendShape shape;
  std::vector<TileEntry> tiles;
  std::vector<ItemEntry> items;
  std::uint32_t n_slot = 0;
};

/// Scratch of a wave, in bytes: where each array starts and how much all of them take.
struct AttendScratch {
  std::uint64_t q_rotated_bytes = 0;  ///< offset; the raw queries stand at 0
  std::uint64_t q_digits_bytes = 0;
  std::uint64_t floors_bytes = 0;
  std::uint64_t partials_bytes = 0;
  std::uint64_t size_bytes = 0;

  static AttendScratch of(const AttendArgs& args, const AttendShape& shape, std::uint64_t n_tile,
                          std::uint64_t n_slot);
};

/// Bytes that the scratch of an attend never exceeds.
std::uint64_t attend_scratch_size_bytes();

/// Cuts a call into waves whose scratch fits. Splits stand at multiples of a number of pages that
/// depends on the sequence's length alone; so does nothing else depend on the other sequences.
std::vector<AttendWave> plan_attend(const AttendArgs& args, std::uint32_t shared_size_bytes,
                                    bool specialises);

}  // namespace kvault::vulkan
