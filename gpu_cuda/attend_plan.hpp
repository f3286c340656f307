#pragma once

#include <vector>

#include "core/device/device.hpp"
#include "gpu_cuda/kernel_abi.hpp"

namespace kvault::cuda {

/// Tiles and items that share launches and their scratch.
struct AttendWave {
  std::vector<TileEntry> tiles;
  std::vector<std::uint32_t> slot_kinds;  ///< [n_slot], an ItemKind each
  std::vector<ItemEntry> floors;          ///< of tiles that may leave values out
  std::vector<ItemEntry> portable;
  std::vector<ItemEntry> narrow;   ///< of kTensorValues, tiles of up to kNarrowColumns rows
  std::vector<ItemEntry> wide;     ///< likewise, more
  std::vector<ItemEntry> prefill;  ///< likewise, of many tiles at once
};

/// What a call is cut by.
struct AttendPolicy {
  bool uses_tensor_cores = false;
  std::uint32_t n_column = kColumns;  ///< rows of a tile
  /// Tiles that an item of many rows takes at once; 0: there is no kernel for it.
  std::uint32_t n_prefill_tile = 0;
  /// If > 0: for as many pages of any kind, from page 0 on, whatever a sequence has now.
  std::uint64_t n_page_max = 0;
};

/// Scratch of a wave: where each array starts, in bytes, and how much all of them take.
struct AttendScratch {
  std::uint64_t q_raw_bytes = 0;  ///< offsets from here on
  std::uint64_t q_rotated_bytes = 0;
  std::uint64_t q_digits_bytes = 0;
  std::uint64_t q_steps_bytes = 0;
  std::uint64_t q_sums_bytes = 0;
  std::uint64_t floors_bytes = 0;
  std::uint64_t partials_bytes = 0;
  std::uint64_t size_bytes = 0;

  static AttendScratch of(std::uint32_t key_head_dim, std::uint32_t value_head_dim,
                          std::uint64_t n_tile, std::uint64_t n_slot);
};

/// Bytes that the scratch of an attend never exceeds.
std::uint64_t attend_scratch_size_bytes();

/// Whether a sequence's values may be left out.
bool is_sparse(const SparseValues& sparse, const AttendSequence& sequence);

/// Several queries with at least so many rows in all, of a kv head, are taken many rows at once:
/// two passes of eight take as many instructions, three take half more.
inline constexpr std::uint32_t kPrefillRowsMin = 2 * kColumns + 1;

/// Tiles that a kernel of attend_prefill.cu takes at once; 0: none has these head_dims.
std::uint32_t prefill_tiles_of(std::uint32_t key_head_dim, std::uint32_t value_head_dim);

/// Cuts a call into waves whose scratch fits. Splits stand at multiples of a number of pages that
/// depends on the sequence alone: on its length and, where many rows are taken at once, on how many
/// there are. Nothing depends on the other sequences.
std::vector<AttendWave> plan_attend(const AttendArgs& args, const AttendPolicy& policy);

}  // namespace kvault::cuda
