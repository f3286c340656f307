#include "tests/cuda_emulator/streams.hpp"

namespace {

/// A queue as long as this is shortened by doing its oldest work, as a device would long have.
constexpr std::size_t kQueueMax = 4096;

}  // namespace

void CUstream_st::enqueue(Work work) {
  if (capture != nullptr) {
    capture->push_back(std::move(work));
    return;
  }
  queue.push_back(std::move(work));
  ++n_enqueued;
  if (queue.size() > kQueueMax) run_until(n_done + 1);
}

void CUstream_st::run_until(std::uint64_t n) {
  while (n_done < n && !queue.empty()) {
    const Work work = std::move(queue.front());
    queue.pop_front();
    work();
    ++n_done;
  }
}
