#pragma once

#include <cuda.h>
#include <doctest/doctest.h>

#include <array>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/os/shared_library.hpp"
#include "kvault/kvault_cuda.h"

namespace kvault::test {

/// An engine with a context and a stream. Its context is current only while it works.
class CudaEngine {
 public:
  /// Null where this machine has no driver or no device.
  static std::unique_ptr<CudaEngine> open() {
    Result<SharedLibrary> driver = SharedLibrary::open("libcuda.so.1");
    if (!driver) return nullptr;
    auto engine = std::make_unique<CudaEngine>(std::move(*driver));
    return engine->context_ == nullptr ? nullptr : std::move(engine);
  }

  explicit CudaEngine(SharedLibrary driver) : driver_(std::move(driver)) {
    if (call<decltype(&cuInit)>("cuInit", 0U) != CUDA_SUCCESS) return;
    if (call<decltype(&cuDevicePrimaryCtxRetain)>("cuDevicePrimaryCtxRetain", &context_, 0) !=
        CUDA_SUCCESS) {
      context_ = nullptr;
      return;
    }
    stream_ = make_stream();
  }
  CudaEngine(const CudaEngine&) = delete;
  CudaEngine& operator=(const CudaEngine&) = delete;
  ~CudaEngine() {
    if (context_ == nullptr) return;
    destroy_stream(stream_);
    check<decltype(&cuDevicePrimaryCtxRelease)>("cuDevicePrimaryCtxRelease_v2", 0);
  }

  kvault_cuda_device lend(std::uint32_t flags = 0) const {
    kvault_cuda_device lent = KVAULT_CUDA_DEVICE_INIT;
    lent.flags = flags;
    lent.context = context_;
    lent.stream = stream_;
    return lent;
  }
  bool is_emulated() const {
    std::array<char, 256> name = {};
    check<decltype(&cuDeviceGetName)>("cuDeviceGetName", name.data(), 256, 0);
    return std::string_view(name.data()).find("emulated") != std::string_view::npos;
  }
  /// Makes the context current, and no longer.
  void enter() const { check<decltype(&cuCtxPushCurrent)>("cuCtxPushCurrent_v2", context_); }
  void leave() const {
    CUcontext popped = nullptr;
    check<decltype(&cuCtxPopCurrent)>("cuCtxPopCurrent_v2", &popped);
  }
  CUcontext current() const {
    CUcontext context = nullptr;
    check<decltype(&cuCtxGetCurrent)>("cuCtxGetCurrent", &context);
    return context;
  }

  CUstream stream() const { return stream_; }
  CUstream make_stream() const {
    CUstream stream = nullptr;
    enter();
    check<decltype(&cuStreamCreate)>("cuStreamCreate", &stream, unsigned{CU_STREAM_NON_BLOCKING});
    leave();
    return stream;
  }
  void destroy_stream(CUstream stream) const {
    enter();
    check<decltype(&cuStreamDestroy)>("cuStreamDestroy_v2", stream);
    leave();
  }
  /// Another context of the device; current only where it is entered.
  CUcontext make_context() const {
    CUcontext context = nullptr;
    CUctxCreateParams params = {};
    check<decltype(&cuCtxCreate)>("cuCtxCreate_v4", &context, &params, 0U, 0);
    leave();
    return context;
  }
  void destroy_context(CUcontext context) const {
    check<decltype(&cuCtxDestroy)>("cuCtxDestroy_v2", context);
  }
  void synchronize() const {
    enter();
    check<decltype(&cuStreamSynchronize)>("cuStreamSynchronize", stream_);
    leave();
  }
  void begin_capture() const {
    enter();
    check<decltype(&cuStreamBeginCapture)>("cuStreamBeginCapture_v2", stream_,
                                           CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    leave();
  }
  /// The graph, ready to be launched.
  CUgraphExec end_capture() const {
    CUgraph graph = nullptr;
    CUgraphExec exec = nullptr;
    enter();
    check<decltype(&cuStreamEndCapture)>("cuStreamEndCapture", stream_, &graph);
    check<decltype(&cuGraphInstantiate)>("cuGraphInstantiateWithFlags", &exec, graph, 0ULL);
    check<decltype(&cuGraphDestroy)>("cuGraphDestroy", graph);
    leave();
    return exec;
  }
  void launch(CUgraphExec exec) const {
    enter();
    check<decltype(&cuGraphLaunch)>("cuGraphLaunch", exec, stream_);
    leave();
  }
  void destroy(CUgraphExec exec) const {
    enter();
    check<decltype(&cuGraphExecDestroy)>("cuGraphExecDestroy", exec);
    leave();
  }

  CUdeviceptr allocate(std::size_t size_bytes, CUcontext context = nullptr) const {
    CUdeviceptr memory = 0;
    check<decltype(&cuCtxPushCurrent)>("cuCtxPushCurrent_v2",
                                       context == nullptr ? context_ : context);
    check<decltype(&cuMemAlloc)>("cuMemAlloc_v2", &memory, size_bytes);
    leave();
    return memory;
  }
  void free(CUdeviceptr memory) const {
    enter();
    check<decltype(&cuMemFree)>("cuMemFree_v2", memory);
    leave();
  }
  /// On the engine's stream, as all that follows.
  void upload(CUdeviceptr target, std::span<const std::byte> source) const {
    enter();
    check<decltype(&cuMemcpyHtoDAsync)>("cuMemcpyHtoDAsync_v2", target,
                                        static_cast<const void*>(source.data()), source.size(),
                                        stream_);
    leave();
  }
  void fill(CUdeviceptr target, unsigned char value, std::size_t size_bytes) const {
    enter();
    check<decltype(&cuMemsetD8Async)>("cuMemsetD8Async", target, value, size_bytes, stream_);
    leave();
  }
  /// And waits.
  void download(std::span<std::byte> target, CUdeviceptr source) const {
    enter();
    check<decltype(&cuMemcpyDtoHAsync)>("cuMemcpyDtoHAsync_v2", static_cast<void*>(target.data()),
                                        source, target.size(), stream_);
    leave();
    synchronize();
  }

 private:
  template <class Function, class... Arguments>
  CUresult call(const char* name, Arguments... arguments) const {
    const auto function = driver_.find<Function>(name);
    REQUIRE((function != nullptr));
    return function(arguments...);
  }
  template <class Function, class... Arguments>
  void check(const char* name, Arguments... arguments) const {
    CAPTURE(name);
    CHECK(call<Function>(name, arguments...) == CUDA_SUCCESS);
  }

  SharedLibrary driver_;
  CUcontext context_ = nullptr;
  CUstream stream_ = nullptr;
};

/// An array of an engine's in its device memory.
template <class T>
class CudaArray {
 public:
  CudaArray(const CudaEngine& engine, std::size_t n, CUcontext context = nullptr)
      : engine_(engine), n_(n), memory_(engine.allocate(n * sizeof(T), context)) {}
  CudaArray(const CudaEngine& engine, const std::vector<T>& values)
      : CudaArray(engine, values.size()) {
    engine.upload(memory_, std::as_bytes(std::span(values)));
  }
  CudaArray(const CudaArray&) = delete;
  CudaArray& operator=(const CudaArray&) = delete;
  ~CudaArray() { engine_.free(memory_); }

  void write(const std::vector<T>& values) const {
    engine_.upload(memory_, std::as_bytes(std::span(values)));
  }
  T* at(std::size_t first = 0) const { return reinterpret_cast<T*>(memory_) + first; }
  std::size_t size() const { return n_; }
  /// On the engine's stream: what it held is gone for what is enqueued later.
  void spoil() const { engine_.fill(memory_, 0xFF, n_ * sizeof(T)); }
  std::vector<T> read() const {
    std::vector<T> values(n_);
    engine_.download(std::as_writable_bytes(std::span(values)), memory_);
    return values;
  }

 private:
  const CudaEngine& engine_;
  std::size_t n_;
  CUdeviceptr memory_;
};

struct CudaCacheDeleter {
  void operator()(kvault_cache* cache) const { kvault_cache_destroy(cache); }
};
using OwnedCudaCache = std::unique_ptr<kvault_cache, CudaCacheDeleter>;

}  // namespace kvault::test
