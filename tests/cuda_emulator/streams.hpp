#pragma once

#include <cuda.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

/// What is enqueued on a stream, in order. Nothing of it is done before somebody waits for it, so
/// that a result which is read too early, or memory that is used again too early, shows.
struct CUstream_st {
  using Work = std::function<void()>;

  CUcontext context = nullptr;
  bool is_blocking = true;  ///< with the legacy default stream
  std::deque<Work> queue = {};
  std::uint64_t n_enqueued = 0;
  std::uint64_t n_done = 0;
  /// While it is captured nothing is enqueued: work goes here.
  std::unique_ptr<std::vector<Work>> capture = nullptr;
  bool is_capture_broken = false;

  void enqueue(Work work);
  /// Does the work up to the n-th.
  void run_until(std::uint64_t n);
  void run() { run_until(n_enqueued); }
};

/// A place in a stream's work.
struct CUevent_st {
  std::shared_ptr<CUstream_st> stream = nullptr;  ///< null: not recorded yet
  std::uint64_t place = 0;

  bool is_done() const { return stream == nullptr || stream->n_done >= place; }
  void wait() const {
    if (stream != nullptr) stream->run_until(place);
  }
};

/// Work that was captured.
struct CUgraph_st {
  std::vector<CUstream_st::Work> works;
};
struct CUgraphExec_st {
  std::vector<CUstream_st::Work> works;
};
