#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>

#include "core/os/large_memory.hpp"

namespace kvault::cpu {

/// Memory of a device's buffers, many of them in a chunk of large pages: attention over a long
/// context, buffer by buffer, would wait for translations of addresses in small ones
/// (docs/benchmarks/cpu.md). Pieces that were given back serve buffers of the same size, and a
/// chunk without any goes back to the system. May be used by several threads.
class SegmentArena : public std::enable_shared_from_this<SegmentArena> {
 private:
  struct Chunk;

 public:
  static constexpr std::size_t kChunkBytes = std::size_t{8} << 20U;
  static constexpr std::size_t kPieceBytesMax = kChunkBytes / 4;

  /// At a 128-byte boundary; given back when it is destroyed. Move-only; keeps the arena.
  class Piece {
   public:
    Piece() = default;
    Piece(Piece&& other) noexcept { *this = std::move(other); }
    Piece& operator=(Piece&& other) noexcept;
    ~Piece();
    std::span<std::byte> bytes() const { return bytes_; }

   private:
    friend class SegmentArena;
    std::shared_ptr<SegmentArena> arena_;
    Chunk* chunk_ = nullptr;
    std::span<std::byte> bytes_;
  };

  static std::shared_ptr<SegmentArena> create() {
    return std::shared_ptr<SegmentArena>(new SegmentArena());
  }

  /// What is in it may be anything. pre: 0 < size_bytes <= kPieceBytesMax; throws std::bad_alloc
  Piece take(std::size_t size_bytes);
  std::size_t n_chunk() const;

 private:
  /// Stands in a piece that was given back.
  struct FreePiece {
    FreePiece* next;
    Chunk* chunk;
  };
  struct Chunk {
    LargeMemory memory;
    std::size_t used_bytes = 0;
    std::size_t n_live = 0;  ///< pieces that somebody has
  };

  SegmentArena() = default;
  void give_back(Chunk* chunk, std::span<std::byte> bytes);
  void forget_free_pieces(const Chunk* chunk);

  mutable std::mutex mutex_;
  std::list<Chunk> chunks_;                 ///< new pieces come from the last one
  std::map<std::size_t, FreePiece*> free_;  ///< by rounded size
};

}  // namespace kvault::cpu
