#include "sdk/src/piece_verifier.hpp"

#include <algorithm>
#include <system_error>

#include "core/base/assert.hpp"

namespace kvault {
namespace {

/// The layer that is wanted and some behind it: what is opened ahead takes memory.
constexpr std::uint32_t kLayersAtOnce = 3;
/// Fewer bytes are verified sooner than a thread starts.
constexpr std::uint64_t kSharedBytes = 1U << 20U;

}  // namespace

PieceVerifier::PieceVerifier(SessionIndex& index) : index_(index) {
  for (const StoredLayer& layer : index.layers()) {
    layers_.push_back({std::vector<State>(layer.pieces.size(), State::waiting), 0});
  }
}

PieceVerifier::~PieceVerifier() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void PieceVerifier::begin(LayerIndex layer) {
  {
    const std::lock_guard lock(mutex_);
    wanted_ = layer.raw;
  }
  changed_.notify_all();
  if (thread_.joinable() || !pays()) return;
  try {
    thread_ = std::thread([this] { work_ahead(); });
  } catch (const std::system_error&) {
    // The caller's thread does it all.
  }
}

bool PieceVerifier::pays() const {
  if (std::thread::hardware_concurrency() < 2) return false;
  std::uint64_t size_bytes = 0;
  for (const StoredLayer& layer : index_.layers()) size_bytes += layer.size_bytes;
  return size_bytes >= kSharedBytes;
}

bool PieceVerifier::is_intact(LayerIndex layer, std::size_t piece) {
  std::unique_lock lock(mutex_);
  const State& state = layers_[layer.raw].pieces[piece];
  while (state == State::waiting || state == State::taken) {
    if (const std::optional<Place> next = take(layer.raw, 1)) {
      verify(*next, unpacker_, lock);
    } else {
      changed_.wait(lock);
    }
  }
  return state == State::intact;
}

void PieceVerifier::forget(LayerIndex layer) {
  std::unique_lock lock(mutex_);
  wanted_.reset();
  Layer& pieces = layers_[layer.raw];
  changed_.wait(lock, [&] {
    return std::find(pieces.pieces.begin(), pieces.pieces.end(), State::taken) ==
           pieces.pieces.end();
  });
  std::fill(pieces.pieces.begin(), pieces.pieces.end(), State::waiting);
  pieces.n_taken = 0;
}

void PieceVerifier::work_ahead() {
  RowUnpacker unpacker;
  std::unique_lock lock(mutex_);
  while (!is_ending_) {
    const std::optional<Place> next =
        wanted_ ? take(*wanted_, kLayersAtOnce) : std::optional<Place>();
    if (!next) {
      changed_.wait(lock);
      continue;
    }
    try {
      verify(*next, unpacker, lock);
    } catch (const std::bad_alloc&) {
      return;  // whoever wants the piece meets it
    }
  }
}

/// The first piece that waits, in the layers' order. pre: the mutex is held
std::optional<PieceVerifier::Place> PieceVerifier::take(std::uint32_t first_layer,
                                                        std::uint32_t n_layer) {
  for (std::uint32_t i = 0; i < n_layer; ++i) {
    const auto index = static_cast<std::uint32_t>((first_layer + i) % layers_.size());
    Layer& layer = layers_[index];
    for (std::size_t& piece = layer.n_taken; piece < layer.pieces.size(); ++piece) {
      if (layer.pieces[piece] != State::waiting) continue;
      layer.pieces[piece] = State::taken;
      return Place{index, piece};
    }
  }
  return std::nullopt;
}

/// pre: the piece was taken, and the mutex is held; it is released meanwhile
void PieceVerifier::verify(const Place& place, RowUnpacker& unpacker,
                           std::unique_lock<std::mutex>& lock) {
  State& state = layers_[place.layer].pieces[place.piece];
  KVAULT_ASSERT(state == State::taken);
  StoredPiece& piece = index_.layers()[place.layer].pieces[place.piece];
  lock.unlock();
  State found = State::damaged;
  const auto settle = [&] {
    lock.lock();
    state = found;
    Layer& layer = layers_[place.layer];
    if (found == State::waiting) layer.n_taken = std::min(layer.n_taken, place.piece);
    changed_.notify_all();
  };
  try {
    const bool matches = payload_checksum(index_.stored_bytes_of(piece)) == piece.checksum;
    if (matches && index_.open(LayerIndex(place.layer), piece, unpacker)) found = State::intact;
  } catch (const std::bad_alloc&) {
    found = State::waiting;
    settle();
    throw;
  }
  settle();
}

}  // namespace kvault
