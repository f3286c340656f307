#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/format/row_packing.hpp"
#include "sdk/src/session_index.hpp"

namespace kvault {

/// Verifies and opens the pieces of a stored session: on the thread that wants them, and on one of
/// its own that takes the next ones meanwhile, a few layers ahead at most; behind the last layer
/// comes the first. A piece is one thread's, whoever takes it first, so that a thread that gets no
/// core holds up nothing but the piece it has. The index outlives it.
class PieceVerifier {
 public:
  explicit PieceVerifier(SessionIndex& index);
  PieceVerifier(const PieceVerifier&) = delete;
  PieceVerifier& operator=(const PieceVerifier&) = delete;
  ~PieceVerifier();

  /// `layer` is what is wanted from now on. Starts the thread where it pays; where the system has
  /// none the caller's does all.
  void begin(LayerIndex layer);
  /// Whether the checksum or seal of the piece matches and it unpacks; it is open then. Works, on
  /// pieces behind it too, until that is known. Throws std::bad_alloc.
  bool is_intact(LayerIndex layer, std::size_t piece);
  /// What was found out about the layer is to be found out again.
  void forget(LayerIndex layer);

 private:
  enum class State : std::uint8_t { waiting, taken, intact, damaged };
  struct Layer {
    std::vector<State> pieces;
    std::size_t n_taken = 0;  ///< no piece before this one waits
  };
  struct Place {
    std::uint32_t layer;
    std::size_t piece;
  };

  bool pays() const;
  void work_ahead();
  std::optional<Place> take(std::uint32_t first_layer, std::uint32_t n_layer);
  void verify(const Place& place, RowUnpacker& unpacker, std::unique_lock<std::mutex>& lock);

  SessionIndex& index_;
  RowUnpacker unpacker_;  ///< the caller's
  std::mutex mutex_;      ///< over all that follows
  std::condition_variable changed_;
  std::vector<Layer> layers_;
  std::optional<std::uint32_t> wanted_;  ///< layer; nothing is taken ahead without
  bool is_ending_ = false;
  std::thread thread_;
};

}  // namespace kvault
