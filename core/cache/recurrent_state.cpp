#include "core/cache/recurrent_state.hpp"

#include <algorithm>

#include "core/base/assert.hpp"

namespace kvault {

void RecurrentState::set(std::uint64_t position, std::span<const std::byte> bytes) {
  now_.position = position;
  now_.bytes.assign(bytes.begin(), bytes.end());
}

void RecurrentState::keep() {
  if (!kept_.empty() && kept_.back().position == now_.position) kept_.pop_back();
  kept_.push_back(now_);
  if (kept_.size() > kSnapshotMax) kept_.erase(kept_.begin());
}

std::uint64_t RecurrentState::resumable_at(std::uint64_t n_token) const {
  if (n_token >= now_.position) return now_.position;
  std::uint64_t best = 0;
  for (const Snapshot& snapshot : kept_) {
    if (snapshot.position <= n_token) best = std::max(best, snapshot.position);
  }
  return best;
}

void RecurrentState::truncate(std::uint64_t n_token) {
  if (n_token == now_.position) return;
  std::erase_if(kept_, [n_token](const Snapshot& snapshot) { return snapshot.position > n_token; });
  if (n_token == 0) {
    now_ = Snapshot{};
    return;
  }
  KVAULT_ASSERT(!kept_.empty() && kept_.back().position == n_token);
  now_ = kept_.back();
}

}  // namespace kvault
