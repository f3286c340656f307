#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/base/result.hpp"
#include "core/cache/cache.hpp"
#include "sdk/src/piece_verifier.hpp"
#include "sdk/src/restore_meter.hpp"
#include "sdk/src/session_index.hpp"

namespace kvault {

/// The layers of a stored session: the second half of a restore. A layer's checksums are verified
/// before its bytes are used, and while it is loaded the next ones are read and verified ahead.
/// Sealed segments are attended where they lie in the mapped packs, if the device has adopted
/// those; their buffers keep the packs alive.
class SessionLoader final : public LayerSource {
 public:
  /// Sets the layers' positions in `cache`, which is on `device` and new.
  SessionLoader(Cache& cache, Device& device, SessionIndex index, RestoreMeter meter);

  bool is_loaded(LayerIndex layer) const override;
  Result<> load(Cache& cache, LayerIndex layer) override;
  Result<> wait() override;

 private:
  /// What is gathered of a layer before it can be put in place.
  struct Gathered {
    std::uint64_t size_bytes = 0;
    std::vector<float> energy;  ///< while contiguous from token 0
  };

  void read_ahead(std::uint32_t layer);
  Result<> place(Cache& cache, LayerIndex layer);
  Error damaged(LayerIndex layer, const StoredPiece& piece) const;
  Result<> place_piece(Cache& cache, LayerIndex layer, const StoredPiece& piece,
                       Gathered& gathered);
  Result<> place_attention(LayerCache& layer, const StoredLayer& stored, const StoredPiece& piece,
                           Gathered& gathered);
  Result<> place_segment(LayerCache& layer, const StoredLayer& stored, const StoredPiece& piece);
  Result<> place_rows(LayerCache& layer, const StoredLayer& stored, const StoredPiece& piece);
  void place_equaliser(LayerCache& layer, const StoredPiece& piece) const;
  void gather_energy(const LayerCache& layer, const StoredPiece& piece, Gathered& gathered) const;
  void settle_equaliser(LayerCache& layer, const Gathered& gathered) const;

  Device& device_;
  SessionIndex index_;
  PieceVerifier verifier_;
  RestoreMeter meter_;
  std::optional<Ticket> last_upload_;
  std::uint32_t n_read_ahead_ = 0;  ///< layers [0, n) were read ahead
};

}  // namespace kvault
