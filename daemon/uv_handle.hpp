#pragma once

#include <uv.h>

#include <memory>
#include <utility>

#include "core/base/assert.hpp"
#include "core/base/result.hpp"

namespace kvault {

/// Closes a libuv handle. libuv still uses a handle's memory until its close callback has run, so
/// that callback frees it; handle->data is cleared at once, so that callbacks that run in between
/// (cancelled writes, for one) see that their owner is gone.
struct UvCloser {
  template <class Handle>
  void operator()(Handle* handle) const noexcept {
    auto* base = reinterpret_cast<uv_handle_t*>(handle);
    base->data = nullptr;
    uv_close(base, [](uv_handle_t* closed) { delete reinterpret_cast<Handle*>(closed); });
  }
};

/// Owns an initialised libuv handle (uv_pipe_t, uv_timer_t, uv_async_t, uv_signal_t, ...). The loop
/// must run once more after the owner's death. Loop thread only.
template <class Handle>
using UvHandle = std::unique_ptr<Handle, UvCloser>;

/// What libuv says about one of its error numbers.
[[nodiscard]] inline tl::unexpected<Error> fail_uv(const char* call, int status) {
  const Errc code = status == UV_ENOMEM ? Errc::out_of_memory : Errc::io;
  return fail(code, message(call, ": ", uv_strerror(status)));
}

/// A handle initialised by `init(handle)`, a libuv uv_*_init call; `owner` becomes handle->data.
template <class Handle, class Init>
Result<UvHandle<Handle>> make_uv_handle(void* owner, Init init) {
  auto raw = std::make_unique<Handle>();
  if (const int status = init(raw.get()); status != 0) return fail_uv("libuv handle", status);
  raw->data = owner;
  return UvHandle<Handle>(raw.release());
}

/// Owns an event loop. Declare it before the handles that live on it: its destructor runs their
/// close callbacks.
class UvLoop {
 public:
  static Result<UvLoop> create() {
    UvLoop loop(std::make_unique<uv_loop_t>());
    if (const int status = uv_loop_init(loop.loop_.get()); status != 0) {
      loop.loop_.reset();
      return fail_uv("uv_loop_init", status);
    }
    return loop;
  }
  UvLoop(UvLoop&&) noexcept = default;
  UvLoop& operator=(UvLoop&&) = delete;
  ~UvLoop() {
    if (!loop_) return;
    uv_run(loop_.get(), UV_RUN_DEFAULT);
    KVAULT_ASSERT(uv_loop_close(loop_.get()) == 0);
  }

  uv_loop_t* get() const noexcept { return loop_.get(); }

 private:
  explicit UvLoop(std::unique_ptr<uv_loop_t> loop) : loop_(std::move(loop)) {}
  std::unique_ptr<uv_loop_t> loop_;
};

}  // namespace kvault
