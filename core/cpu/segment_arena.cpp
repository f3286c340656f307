#include "core/cpu/segment_arena.hpp"

#include <new>
#include <utility>

#include "core/base/assert.hpp"

namespace kvault::cpu {
namespace {

constexpr std::size_t kAlignmentBytes = 128;

constexpr std::size_t rounded_up(std::size_t size_bytes) {
  return (size_bytes + kAlignmentBytes - 1) / kAlignmentBytes * kAlignmentBytes;
}

}  // namespace

SegmentArena::Piece& SegmentArena::Piece::operator=(Piece&& other) noexcept {
  std::swap(arena_, other.arena_);
  std::swap(chunk_, other.chunk_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

SegmentArena::Piece::~Piece() {
  if (arena_ != nullptr) arena_->give_back(chunk_, bytes_);
}

SegmentArena::Piece SegmentArena::take(std::size_t size_bytes) {
  KVAULT_ASSERT(size_bytes > 0 && size_bytes <= kPieceBytesMax);
  const std::size_t rounded = rounded_up(size_bytes);
  Piece piece;
  const std::lock_guard lock(mutex_);
  // Made now, since giving back must not need memory.
  FreePiece*& first_free = free_[rounded];
  if (first_free != nullptr) {
    FreePiece* const taken = std::exchange(first_free, first_free->next);
    piece.chunk_ = taken->chunk;
    piece.bytes_ = {reinterpret_cast<std::byte*>(taken), size_bytes};
  } else {
    if (chunks_.empty() || chunks_.back().used_bytes + rounded > kChunkBytes) {
      chunks_.push_back({.memory = allocate_large(kChunkBytes)});
    }
    Chunk& open = chunks_.back();
    piece.chunk_ = &open;
    piece.bytes_ = {open.memory.get() + open.used_bytes, size_bytes};
    open.used_bytes += rounded;
  }
  ++piece.chunk_->n_live;
  piece.arena_ = shared_from_this();  // from here on it gives back what it has
  return piece;
}

void SegmentArena::give_back(Chunk* chunk, std::span<std::byte> bytes) {
  const std::lock_guard lock(mutex_);
  FreePiece*& first_free = free_.find(rounded_up(bytes.size()))->second;
  first_free = new (bytes.data()) FreePiece{first_free, chunk};
  if (--chunk->n_live > 0) return;
  forget_free_pieces(chunk);
  if (chunk == &chunks_.back()) {
    chunk->used_bytes = 0;
  } else {
    chunks_.remove_if([&](const Chunk& one) { return &one == chunk; });
  }
}

void SegmentArena::forget_free_pieces(const Chunk* chunk) {
  for (auto& [size_bytes, first] : free_) {
    FreePiece** link = &first;
    while (*link != nullptr) {
      FreePiece* const piece = *link;
      if (piece->chunk == chunk) {
        *link = piece->next;
      } else {
        link = &piece->next;
      }
    }
  }
}

std::size_t SegmentArena::n_chunk() const {
  const std::lock_guard lock(mutex_);
  return chunks_.size();
}

}  // namespace kvault::cpu
