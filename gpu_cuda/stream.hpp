#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "gpu_cuda/context.hpp"

namespace kvault::cuda {

/// Work in call order on one CUDA stream. mark() ends a stretch of it; a stretch is done when the
/// device has come to its mark.
///
/// A failure that the device does not recover from loses it: later calls fail with
/// Errc::device_lost, and no action runs.
class Stream {
 public:
  static Result<std::unique_ptr<Stream>> create(const Context& context);
  /// A stream of an engine's, which outlives the object; null: the legacy default stream.
  static Result<std::unique_ptr<Stream>> borrow(const Context& context, CUstream handle);
  explicit Stream(const Context& context) : context_(context) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  /// Drains.
  ~Stream();

  CUstream handle() const { return handle_; }
  /// The stretch that work is handed in to.
  std::uint64_t open_value() const { return open_value_; }

  /// Errc::device_lost once the device is lost.
  Result<> check_alive() const;
  /// Of a call of the driver; may lose the device.
  Result<> check(CUresult result, std::string_view what);
  /// Runs `action` in the wait() that finds the open stretch done.
  void when_done(std::function<void()> action);
  /// Ends the open stretch; its value.
  Result<std::uint64_t> mark();
  /// Returns when the stretch of that value is done, ending it first if it is still open.
  Result<> wait(std::uint64_t value);
  /// What is handed in from here on begins when `other` is done with the stretch of that value.
  Result<> follow(Stream& other, std::uint64_t value);
  /// Stretches up to that value are known to be done.
  std::uint64_t done_value() const { return done_value_; }
  /// Returns when the device is done with all that was handed in, lost or not. No action runs.
  void drain();

 private:
  struct Mark {
    std::uint64_t value;
    CUevent event;
  };
  struct Action {
    std::uint64_t value;
    std::function<void()> run;
  };

  Result<CUevent> find_event();
  void finish(std::uint64_t value);

  const Context& context_;
  CUstream handle_ = nullptr;
  bool is_lent_ = false;
  std::uint64_t open_value_ = 1;
  std::uint64_t done_value_ = 0;
  std::deque<Mark> marks_;
  std::vector<CUevent> idle_events_;
  std::deque<Action> actions_;
  std::optional<Error> loss_;
};

}  // namespace kvault::cuda
