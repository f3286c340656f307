#include "gpu_cuda/stream.hpp"

namespace kvault::cuda {

Result<std::unique_ptr<Stream>> Stream::create(const Context& context) {
  const Context::Scope scope(context);
  auto stream = std::make_unique<Stream>(context);
  KVAULT_CHECK(context.check(context.api().cuStreamCreate(&stream->handle_, CU_STREAM_NON_BLOCKING),
                             "a stream"));
  return stream;
}

Result<std::unique_ptr<Stream>> Stream::borrow(const Context& context, CUstream handle) {
  const Context::Scope scope(context);
  auto stream = std::make_unique<Stream>(context);
  CUcontext own = nullptr;
  const CUresult asked = context.api().cuStreamGetCtx(handle, &own);
  if (asked != CUDA_SUCCESS) {
    return fail(Errc::invalid_argument, context.check(asked, "the lent stream").error().message);
  }
  if (own != context.handle()) {
    return fail(Errc::invalid_argument, "cuda: the lent stream is of another context");
  }
  stream->handle_ = handle;
  stream->is_lent_ = true;
  return stream;
}

Stream::~Stream() {
  const Context::Scope scope(context_);
  const Api& api = context_.api();
  drain();
  for (const Mark& mark : marks_) (void)api.cuEventDestroy(mark.event);
  for (CUevent event : idle_events_) (void)api.cuEventDestroy(event);
  if (handle_ != nullptr && !is_lent_) (void)api.cuStreamDestroy(handle_);
}

Result<> Stream::check_alive() const {
  if (loss_) return tl::unexpected(*loss_);
  return {};
}

Result<> Stream::check(CUresult result, std::string_view what) {
  Result<> checked = context_.check(result, what);
  if (!checked && checked.error().code == Errc::device_lost) {
    loss_ = checked.error();
    actions_.clear();
  }
  return checked;
}

void Stream::when_done(std::function<void()> action) {
  actions_.push_back({open_value_, std::move(action)});
}

Result<CUevent> Stream::find_event() {
  CUevent event = nullptr;
  if (idle_events_.empty()) {
    KVAULT_CHECK(check(context_.api().cuEventCreate(&event, CU_EVENT_DISABLE_TIMING), "an event"));
    return event;
  }
  event = idle_events_.back();
  idle_events_.pop_back();
  return event;
}

Result<std::uint64_t> Stream::mark() {
  KVAULT_CHECK(check_alive());
  KVAULT_TRY(CUevent event, find_event());
  const Result<> recorded = check(context_.api().cuEventRecord(event, handle_), "marking");
  if (!recorded) {
    idle_events_.push_back(event);
    return tl::unexpected(recorded.error());
  }
  marks_.push_back({open_value_, event});
  return open_value_++;
}

Result<> Stream::wait(std::uint64_t value) {
  KVAULT_CHECK(check_alive());
  if (value <= done_value_) return {};
  if (value >= open_value_) {
    KVAULT_TRY(value, mark());
  }
  for (const Mark& mark : marks_) {
    if (mark.value != value) continue;
    KVAULT_CHECK(check(context_.api().cuEventSynchronize(mark.event), "waiting"));
  }
  finish(value);
  return {};
}

Result<> Stream::follow(Stream& other, std::uint64_t value) {
  KVAULT_CHECK(check_alive());
  if (value >= other.open_value_) {
    KVAULT_TRY(value, other.mark());
  }
  for (const Mark& mark : other.marks_) {
    if (mark.value < value) continue;
    return check(context_.api().cuStreamWaitEvent(handle_, mark.event, 0), "following a stream");
  }
  return {};  // done
}

void Stream::finish(std::uint64_t value) {
  done_value_ = value;
  while (!marks_.empty() && marks_.front().value <= value) {
    idle_events_.push_back(marks_.front().event);
    marks_.pop_front();
  }
  while (!actions_.empty() && actions_.front().value <= value) {
    actions_.front().run();
    actions_.pop_front();
  }
}

void Stream::drain() {
  if (handle_ != nullptr || is_lent_) (void)context_.api().cuStreamSynchronize(handle_);
}

}  // namespace kvault::cuda
