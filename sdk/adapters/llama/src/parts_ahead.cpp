#include "sdk/adapters/llama/src/parts_ahead.hpp"

#include <system_error>
#include <utility>

namespace kvault::llama {
namespace {

/// No part is begun while so many wait.
constexpr std::size_t kWaitingMax = 2;

}  // namespace

PartsAhead::PartsAhead(Make make, std::uint64_t first, std::uint64_t end)
    : make_(std::move(make)), next_(first), end_(end) {
  if (first >= end) return;
  try {
    thread_ = std::thread([this] { work(); });
  } catch (const std::system_error&) {
    // next() makes them.
  }
}

PartsAhead::~PartsAhead() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Result<Blob> PartsAhead::next() {
  if (!thread_.joinable()) return make_(next_++, take_spare());
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !made_.empty() || thrown_ != nullptr; });
  if (made_.empty()) std::rethrow_exception(thrown_);
  Result<Blob> part = std::move(made_.front());
  made_.pop_front();
  lock.unlock();
  changed_.notify_all();
  return part;
}

void PartsAhead::give_back(Blob memory) {
  const std::lock_guard lock(mutex_);
  spare_.push_back(std::move(memory));
}

/// The parts one after the other, up to the first that cannot be made.
void PartsAhead::work() {
  std::unique_lock lock(mutex_);
  try {
    bool is_made = true;
    while (is_made && next_ < end_) {
      changed_.wait(lock, [this] { return is_ending_ || made_.size() < kWaitingMax; });
      if (is_ending_) return;
      lock.unlock();
      Result<Blob> part = make_(next_++, take_spare());
      is_made = part.has_value();
      lock.lock();
      made_.push_back(std::move(part));
      changed_.notify_all();
    }
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    thrown_ = std::current_exception();
    changed_.notify_all();
  }
}

Blob PartsAhead::take_spare() {
  const std::lock_guard lock(mutex_);
  if (spare_.empty()) return {};
  Blob memory = std::move(spare_.back());
  spare_.pop_back();
  return memory;
}

}  // namespace kvault::llama
