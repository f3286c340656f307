#pragma once

#include "gpu_cuda/kernel_abi.hpp"
#include "gpu_cuda/kernels/machine.cuh"

// Which keys the rows of a tile see.

namespace kvault::cuda {

struct TileView {
  SequenceEntry sequence;
  TileEntry tile;
  u32 group;  ///< query heads of a kv head

  KVAULT_DEVICE static TileView of(const AttendParams& params, u32 tile_index) {
    const TileEntry tile = params.tiles[tile_index];
    return {params.sequences[tile.sequence], tile, params.n_head / params.n_kv_head};
  }

  KVAULT_DEVICE int first_position() const {
    return sequence.first_q_position + static_cast<int>(tile.first_row / group);
  }
  KVAULT_DEVICE int last_position() const {
    return sequence.first_q_position + static_cast<int>((tile.first_row + tile.n_row - 1) / group);
  }
  KVAULT_DEVICE u32 position_of_page(u32 page) const {
    return (sequence.first_page + page) * KVAULT_PAGE_N_TOKEN;
  }

  /// Whether any row might see any key of the page.
  KVAULT_DEVICE bool sees_page(u32 page_position) const {
    if (page_position >= sequence.n_token) return false;
    if (sequence.is_causal != 0 && static_cast<int>(page_position) > last_position()) return false;
    const int newest = static_cast<int>(page_position + KVAULT_PAGE_N_TOKEN) - 1;
    return sequence.window == 0 || first_position() - newest < static_cast<int>(sequence.window);
  }

  /// Whether every row sees every key of the page.
  KVAULT_DEVICE bool sees_all_of(u32 page_position) const {
    const int newest = static_cast<int>(page_position + KVAULT_PAGE_N_TOKEN) - 1;
    if (sequence.mask != nullptr || static_cast<u32>(newest) >= sequence.n_token) return false;
    if (sequence.is_causal != 0 && newest > first_position()) return false;
    return sequence.window == 0 ||
           last_position() - static_cast<int>(page_position) < static_cast<int>(sequence.window);
  }

  /// Whether the row of a column sees the key at a position.
  KVAULT_DEVICE bool sees(u32 column, u32 position) const {
    const u32 query = (tile.first_row + column) / group;
    const int behind =
        sequence.first_q_position + static_cast<int>(query) - static_cast<int>(position);
    if (column >= tile.n_row || position >= sequence.n_token) return false;
    if (sequence.is_causal != 0 && behind < 0) return false;
    if (sequence.window != 0 && behind >= static_cast<int>(sequence.window)) return false;
    return sequence.mask == nullptr || sequence.mask[query * sequence.mask_stride + position] != 0;
  }
};

/// A logit, in natural units, softly capped (Gemma 2, arXiv 2408.00118, section 2); in log2.
KVAULT_DEVICE float cap_logit(float logit, float softcap) {
  constexpr float kLog2E = 1.4426950408889634F;
  // tanh(x) = 1 - 2 / (1 + e^2x); what is lost near zero is a few 1e-7 of the cap.
  const float power = exp2_fast(logit * (2 * kLog2E) * reciprocal_fast(softcap));
  return softcap * kLog2E * (1 - 2 * reciprocal_fast(1 + power));
}

/// Values may be left out where `mass`, of `n_token` tokens and relative to `maximum`, is too small
/// a share of a row's sum: of the sum so far, or of the floor, which some of the pages make up.
KVAULT_DEVICE bool is_negligible(const TileView& view, const float* floor, float mass, float sum,
                                 float maximum, u32 n_token) {
  const float share = view.sequence.sparse_share * static_cast<float>(n_token);
  if (mass <= share * sum) return true;
  // What overflows is kept.
  const float relative = fminf(maximum - floor[0], 100.0F);
  return mass * exp2f(relative) <= share * floor[1];
}

}  // namespace kvault::cuda
