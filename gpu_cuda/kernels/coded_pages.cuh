#pragma once

#include <cstddef>

#include "gpu_cuda/kernel_abi.hpp"
#include "gpu_cuda/kernels/block.cuh"
#include "gpu_cuda/kernels/fragments.cuh"
#include "gpu_cuda/kernels/visible.cuh"

// What the kernels over coded pages have in common: which pages they take, and the codebooks in
// shared memory.

namespace kvault::cuda {

// Where instructions are counted, in builds that never run, KVAULT_COUNTED_SCHEME is the scheme of
// all pages, and no row is masked, capped or sparse.
#ifdef KVAULT_COUNTED_SCHEME
KVAULT_DEVICE constexpr u32 counted_scheme(u32) { return KVAULT_COUNTED_SCHEME; }
KVAULT_DEVICE constexpr bool counted(bool common, bool) { return common; }
#else
KVAULT_DEVICE u32 counted_scheme(u32 format) { return scheme_of(format); }
KVAULT_DEVICE bool counted(bool, bool actual) { return actual; }
#endif

inline constexpr u32 kTileTokens = 32;
inline constexpr u32 kPageTiles = KVAULT_PAGE_N_TOKEN / kTileTokens;
inline constexpr u32 kAttendWarps = kAttendThreads / kWarpThreads;
/// Lower than any logit, above kNothing: a maximum to begin with.
inline constexpr float kLeastMaximum = -1.0e30F;

/// Bits of a packed code.
template <u32 kScheme>
inline constexpr u32 kCodeBits = kScheme == KVAULT_FORMAT_Q8 ? 8
                                                             : 4 - (kScheme - KVAULT_FORMAT_TQ4);

/// Tables of tq4, tq3 and tq2, of every lane its own; Codes.
struct CodeTables {
  u32 words[3][4][kWarpThreads];

  /// Fills them; a sync_block() has to follow.
  KVAULT_DEVICE void load() {
    for (u32 i = thread_index(); i < 3 * 4 * kWarpThreads; i += kAttendThreads) {
      const u32 table = i / (4 * kWarpThreads);
      const u32 word = i / kWarpThreads % 4;
      const u32 first = table == 0 ? 0 : table == 1 ? 16 : 24;
      u32 bytes = 0;
      for (u32 j = 0; j < 4; ++j) {
        const u32 entry = 4 * word + j;
        if (entry < 16U >> table) bytes |= u32{kAllLevels[first + entry]} << (8 * j);
      }
      words[table][word][i % kWarpThreads] = bytes;
    }
  }
  template <u32 kScheme>
  KVAULT_DEVICE Codes<kScheme> codes() const {
    constexpr u32 kTable = kScheme == KVAULT_FORMAT_TQ3 ? 1 : kScheme == KVAULT_FORMAT_TQ2 ? 2 : 0;
    return Codes<kScheme>(&words[kTable][0][0]);
  }
};

KVAULT_DEVICE PageEntry page_entry(const AttendParams& params, const TileView& view, u32 page) {
  return view.sequence.pages[std::size_t{page} * params.n_kv_head + view.tile.kv_head];
}

/// Whether a page is one of coded keys and values that some row might see.
KVAULT_DEVICE bool takes_page(const AttendParams& params, const TileView& view, u32 page) {
  if (!view.sees_page(view.position_of_page(page))) return false;
  const PageEntry entry = page_entry(params, view, page);
  return !is_raw(entry.key_format) && !is_raw(entry.value_format);
}

/// Has the memory begin to fetch a page of coded keys and values; every caller has an index.
KVAULT_DEVICE void prefetch_codes(const PageEntry& entry, u32 key_dim, u32 value_dim, u32 index,
                                  u32 n_caller) {
  const u32 key_bytes = mean_offset_bytes(scheme_of(entry.key_format), key_dim);
  const u32 value_bytes = mean_offset_bytes(scheme_of(entry.value_format), value_dim);
  KVAULT_NO_UNROLL
  for (u32 at = index * kLineBytes; at < key_bytes; at += n_caller * kLineBytes) {
    prefetch(entry.key + at);
  }
  KVAULT_NO_UNROLL
  for (u32 at = index * kLineBytes; at < value_bytes; at += n_caller * kLineBytes) {
    prefetch(entry.value + at);
  }
}

/// Sums and maxima over the lanes of a column.
KVAULT_DEVICE float sum_of_column(float value) {
  KVAULT_UNROLL
  for (int mask = 4; mask < 32; mask *= 2) value += shuffle_xor(value, mask);
  return value;
}
KVAULT_DEVICE float max_of_column(float value) {
  KVAULT_UNROLL
  for (int mask = 4; mask < 32; mask *= 2) value = fmaxf(value, shuffle_xor(value, mask));
  return value;
}

}  // namespace kvault::cuda
