#include "sdk/src/record_maker.hpp"

#include <algorithm>
#include <new>
#include <system_error>
#include <utility>

namespace kvault {
namespace {

/// Fewer bytes are packed sooner than a thread starts.
constexpr std::uint64_t kSharedBytes = 1U << 20U;
/// The caller packs one itself where more wait: rows take memory.
constexpr std::size_t kWaitingMax = 2;

}  // namespace

RecordMaker::~RecordMaker() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void RecordMaker::add(Chunk chunk, std::vector<std::byte> bytes, std::size_t packed_bytes_max) {
  if (packed_bytes_max > 0) start_thread(bytes.size());
  std::unique_lock lock(mutex_);
  slots_.push_back({std::move(chunk), std::move(bytes), packed_bytes_max});
  changed_.notify_all();
  const std::size_t n_waiting_max = thread_.joinable() ? kWaitingMax : 0;
  while (slots_.size() - next_ > n_waiting_max) settle_next(packer_, lock);
}

void RecordMaker::start_thread(std::size_t more_bytes) {
  n_packed_bytes_ += more_bytes;
  if (n_packed_bytes_ < kSharedBytes || thread_.joinable()) return;
  if (std::thread::hardware_concurrency() < 2) return;
  try {
    thread_ = std::thread([this] { work(); });
  } catch (const std::system_error&) {
    // The caller's thread does it all.
  }
}

std::vector<std::byte> RecordMaker::spare() {
  const std::lock_guard lock(mutex_);
  if (spare_.empty()) return {};
  std::vector<std::byte> memory = std::move(spare_.back());
  spare_.pop_back();
  return memory;
}

OutgoingRecord RecordMaker::finish(RecordDraft draft) {
  OutgoingRecord record;
  record.draft = std::move(draft);
  std::unique_lock lock(mutex_);
  const auto is_done = [](const Slot& slot) { return slot.state == State::done; };
  while (!std::all_of(slots_.begin(), slots_.end(), is_done)) {
    if (!settle_next(packer_, lock)) changed_.wait(lock);
  }
  for (Slot& slot : slots_) {
    record.draft.meta.chunks.push_back(std::move(slot.chunk));
    record.chunks.push_back(std::move(slot.bytes));
  }
  slots_.clear();
  next_ = 0;
  record.draft.payload_bytes = place_chunks(record.draft.meta.chunks);
  return record;
}

void RecordMaker::work() {
  RowPacker packer;
  std::unique_lock lock(mutex_);
  try {
    while (!is_ending_) {
      if (!settle_next(packer, lock)) changed_.wait(lock);
    }
  } catch (const std::bad_alloc&) {
    // The caller meets it at the same chunk.
  }
}

/// Whether one waited. pre: the mutex is held; it is released meanwhile
bool RecordMaker::settle_next(RowPacker& packer, std::unique_lock<std::mutex>& lock) {
  while (next_ < slots_.size() && slots_[next_].state != State::waiting) ++next_;
  if (next_ == slots_.size()) return false;
  const std::size_t index = next_++;
  Slot& slot = slots_[index];  // a deque: it stays where it is
  slot.state = State::taken;
  lock.unlock();
  try {
    settle(slot, packer);
  } catch (const std::bad_alloc&) {
    lock.lock();
    slot.state = State::waiting;
    next_ = std::min(next_, index);
    changed_.notify_all();
    throw;
  }
  lock.lock();
  slot.state = State::done;
  changed_.notify_all();
  return true;
}

void RecordMaker::settle(Slot& slot, RowPacker& packer) {
  std::span<const std::byte> packed;
  if (slot.packed_bytes_max > 0) {
    packed = packer.pack(slot.bytes, element_bytes_, slot.packed_bytes_max);
  }
  if (!packed.empty()) {
    std::vector<std::byte> bytes(packed.begin(), packed.end());
    const std::lock_guard lock(mutex_);
    spare_.push_back(std::move(slot.bytes));
    slot.bytes = std::move(bytes);
    slot.chunk.is_packed = true;
  }
  slot.chunk.size_bytes = slot.bytes.size();
  slot.chunk.checksum = payload_checksum(slot.bytes);
}

}  // namespace kvault
