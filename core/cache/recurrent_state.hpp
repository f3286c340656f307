#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace kvault {

/// The state of a recurrent layer: the one of now, and snapshots of positions kept.
class RecurrentState {
 public:
  static constexpr std::size_t kSnapshotMax = 4;

  std::uint64_t position() const { return now_.position; }
  std::span<const std::byte> bytes() const { return now_.bytes; }

  void set(std::uint64_t position, std::span<const std::byte> bytes);
  /// Remembers the state of now; the oldest of more than kSnapshotMax is forgotten.
  void keep();
  /// The greatest position <= n_token that can be gone back to; 0 (nothing) always can.
  std::uint64_t resumable_at(std::uint64_t n_token) const;
  /// pre: resumable_at(n_token) == n_token
  void truncate(std::uint64_t n_token);

 private:
  struct Snapshot {
    std::uint64_t position = 0;
    std::vector<std::byte> bytes;
  };

  Snapshot now_;
  std::vector<Snapshot> kept_;  ///< ascending positions
};

}  // namespace kvault
