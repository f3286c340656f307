#include <cuda.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string_view>
#include <vector>

#include "gpu_cuda/kernel_abi.hpp"
#include "tests/cuda_emulator/memory.hpp"
#include "tests/cuda_emulator/streams.hpp"
#include "tests/cuda_emulator/thread_block.hpp"

// The functions of a CUDA driver that gpu_cuda uses, and engines in tests, of one device that is
// the CPU. Work is done when somebody waits for it, by the thread that does.

#define KVAULT_CUDA_KERNEL(name, file, params, n_thread) \
  extern "C" void kvault_##name(kvault::cuda::params);
#include "gpu_cuda/kernel_list.inc"
#undef KVAULT_CUDA_KERNEL

struct CUfunc_st {
  std::string_view symbol;
  std::size_t params_bytes;
  void (*run)(const void* params);
};

struct CUctx_st {
  /// Of the handle 0.
  std::shared_ptr<CUstream_st> default_stream;
};

namespace {

constexpr std::uint32_t kSharedBytes = 48U << 10U;
constexpr std::size_t kMemoryBytes = std::size_t{4} << 30U;

CUfunc_st kFunctions[] = {
#define KVAULT_CUDA_KERNEL(name, file, params, n_thread)                     \
  {"kvault_" #name, sizeof(kvault::cuda::params), [](const void* argument) { \
     kvault_##name(*static_cast<const kvault::cuda::params*>(argument));     \
   }},
#include "gpu_cuda/kernel_list.inc"
#undef KVAULT_CUDA_KERNEL
};

/// What handles point to: none is ever followed.
int handle_target = 0;
template <class Handle>
CUresult give_handle(Handle* handle) {
  *handle = reinterpret_cast<Handle>(&handle_target);
  return CUDA_SUCCESS;
}

void* pointer(CUdeviceptr address) { return reinterpret_cast<void*>(address); }

using kvault::cuda::emulator::Memory;
using Work = CUstream_st::Work;

/// All that lives. One call at a time.
struct Driver {
  std::mutex mutex;
  Memory memory;
  CUcontext primary = nullptr;
  int n_primary = 0;
  std::set<CUcontext> contexts;
  std::map<CUstream, std::shared_ptr<CUstream_st>> streams;
};
Driver& driver() {
  static Driver value;
  return value;
}

std::vector<CUcontext>& context_stack() {
  thread_local std::vector<CUcontext> value;
  return value;
}
CUcontext current_context() { return context_stack().empty() ? nullptr : context_stack().back(); }

CUcontext make_context() {
  auto* const context = new CUctx_st;
  context->default_stream = std::make_shared<CUstream_st>();
  context->default_stream->context = context;
  driver().contexts.insert(context);
  return context;
}
void destroy_context(CUcontext context) {
  context->default_stream->run();
  driver().contexts.erase(context);
  delete context;
}

/// Null where there is none: of no context that is current, or of another one.
std::shared_ptr<CUstream_st> find_stream(CUstream handle) {
  const CUcontext context = current_context();
  if (context == nullptr) return nullptr;
  if (handle == nullptr || handle == CU_STREAM_LEGACY) return context->default_stream;
  const auto found = driver().streams.find(handle);
  const bool is_own = found != driver().streams.end() && found->second->context == context;
  return is_own ? found->second : nullptr;
}

/// The legacy default stream and those that block with it come one after the other.
void order_with_legacy(const std::shared_ptr<CUstream_st>& stream) {
  const auto& legacy = stream->context->default_stream;
  if (stream != legacy) {
    if (stream->is_blocking) legacy->run();
    return;
  }
  for (const auto& [handle, other] : driver().streams) {
    if (other->context == stream->context && other->is_blocking) other->run();
  }
}

CUresult enqueue(CUstream handle, Work work) {
  const auto stream = find_stream(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture == nullptr) order_with_legacy(stream);
  stream->enqueue(std::move(work));
  return CUDA_SUCCESS;
}

/// What cannot be captured ends the capture.
CUresult refuse_capture(CUstream handle) {
  const auto stream = find_stream(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture == nullptr) return CUDA_SUCCESS;
  stream->is_capture_broken = true;
  return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

bool is_device_memory(CUdeviceptr address, std::size_t size) {
  return size == 0 || driver().memory.holds(address, size, CU_MEMORYTYPE_DEVICE);
}
bool is_pinned(const void* address, std::size_t size) {
  return driver().memory.holds(reinterpret_cast<CUdeviceptr>(address), size, CU_MEMORYTYPE_HOST);
}

using Lock = std::lock_guard<std::mutex>;

}  // namespace

#define KVAULT_EXPORT extern "C" __attribute__((visibility("default"))) CUresult

KVAULT_EXPORT cuInit(unsigned) { return CUDA_SUCCESS; }
KVAULT_EXPORT cuDriverGetVersion(int* version) {
  *version = CUDA_VERSION;
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuGetErrorName(CUresult, const char** name) {
  *name = "CUDA_ERROR_EMULATED";
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuGetErrorString(CUresult, const char** text) {
  *text = "an error of the emulator";
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuDeviceGetCount(int* count) {
  *count = 1;
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuDeviceGet(CUdevice* device, int index) {
  *device = index;
  return index == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}
KVAULT_EXPORT cuDeviceGetName(char* name, int size, CUdevice) {
  std::snprintf(name, static_cast<std::size_t>(size), "emulated on the CPU");
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuDeviceGetUuid(CUuuid* uuid, CUdevice) {
  std::memcpy(uuid->bytes, "kvault emulator", sizeof(uuid->bytes));
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuDeviceTotalMem(std::size_t* bytes, CUdevice) {
  *bytes = kMemoryBytes;
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuDeviceGetAttribute(int* value, CUdevice_attribute which, CUdevice) {
  switch (which) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: {
      // Which kernels are chosen goes by it; the oldest GPUs have no integer tensor cores.
      const char* const asked = std::getenv("KVAULT_CUDA_EMULATED_MAJOR");
      *value = asked == nullptr ? 9 : std::atoi(asked);
      return CUDA_SUCCESS;
    }
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      *value = 5;
      return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      *value = 2;
      return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
      *value = 1;
      return CUDA_SUCCESS;
    default:
      *value = 0;
      return CUDA_SUCCESS;
  }
}
KVAULT_EXPORT cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) {
  const Lock lock(driver().mutex);
  if (driver().n_primary++ == 0) driver().primary = make_context();
  *context = driver().primary;
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuDevicePrimaryCtxRelease(CUdevice) {
  const Lock lock(driver().mutex);
  if (driver().n_primary == 0) return CUDA_ERROR_INVALID_CONTEXT;
  if (--driver().n_primary == 0) destroy_context(driver().primary);
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuCtxCreate(CUcontext* context, CUctxCreateParams*, unsigned, CUdevice) {
  const Lock lock(driver().mutex);
  *context = make_context();
  context_stack().push_back(*context);
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuCtxDestroy(CUcontext context) {
  const Lock lock(driver().mutex);
  if (!driver().contexts.contains(context)) return CUDA_ERROR_INVALID_CONTEXT;
  if (current_context() == context) context_stack().pop_back();
  destroy_context(context);
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuCtxPushCurrent(CUcontext context) {
  const Lock lock(driver().mutex);
  if (!driver().contexts.contains(context)) return CUDA_ERROR_INVALID_CONTEXT;
  context_stack().push_back(context);
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuCtxPopCurrent(CUcontext* context) {
  if (context_stack().empty()) return CUDA_ERROR_INVALID_CONTEXT;
  *context = context_stack().back();
  context_stack().pop_back();
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuCtxGetCurrent(CUcontext* context) {
  *context = current_context();
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuCtxGetDevice(CUdevice* device) {
  *device = 0;
  return current_context() == nullptr ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
}
KVAULT_EXPORT cuModuleLoadData(CUmodule* module, const void*) { return give_handle(module); }
KVAULT_EXPORT cuModuleUnload(CUmodule) { return CUDA_SUCCESS; }
KVAULT_EXPORT cuModuleGetFunction(CUfunction* function, CUmodule, const char* symbol) {
  for (CUfunc_st& known : kFunctions) {
    if (known.symbol != symbol) continue;
    *function = &known;
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_NOT_FOUND;
}
KVAULT_EXPORT cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }
KVAULT_EXPORT cuFuncGetAttribute(int* value, CUfunction_attribute, CUfunction) {
  *value = 0;
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuStreamCreate(CUstream* handle, unsigned flags) {
  const Lock lock(driver().mutex);
  if (current_context() == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  auto stream = std::make_shared<CUstream_st>();
  stream->context = current_context();
  stream->is_blocking = (flags & CU_STREAM_NON_BLOCKING) == 0;
  *handle = stream.get();
  driver().streams[*handle] = std::move(stream);
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuStreamDestroy(CUstream handle) {
  const Lock lock(driver().mutex);
  const auto found = driver().streams.find(handle);
  if (found == driver().streams.end()) return CUDA_ERROR_INVALID_HANDLE;
  found->second->run();
  driver().streams.erase(found);
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuStreamSynchronize(CUstream handle) {
  const Lock lock(driver().mutex);
  const CUresult refused = refuse_capture(handle);
  if (refused != CUDA_SUCCESS) return refused;
  find_stream(handle)->run();
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuStreamGetCtx(CUstream handle, CUcontext* context) {
  const Lock lock(driver().mutex);
  const auto found = driver().streams.find(handle);
  *context = found == driver().streams.end() ? current_context() : found->second->context;
  const bool is_known = handle == nullptr || found != driver().streams.end();
  return is_known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
KVAULT_EXPORT cuStreamWaitEvent(CUstream handle, CUevent event, unsigned) {
  const Lock lock(driver().mutex);
  return enqueue(handle, [place = *event] { place.wait(); });
}
KVAULT_EXPORT cuStreamBeginCapture(CUstream handle, CUstreamCaptureMode) {
  const Lock lock(driver().mutex);
  const auto stream = find_stream(handle);
  if (stream == nullptr || handle == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture != nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  stream->capture = std::make_unique<std::vector<Work>>();
  stream->is_capture_broken = false;
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuStreamEndCapture(CUstream handle, CUgraph* graph) {
  const Lock lock(driver().mutex);
  *graph = nullptr;
  const auto stream = find_stream(handle);
  if (stream == nullptr || stream->capture == nullptr) return CUDA_ERROR_ILLEGAL_STATE;
  const auto captured = std::move(stream->capture);
  if (stream->is_capture_broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  *graph = new CUgraph_st{std::move(*captured)};
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus* status) {
  const Lock lock(driver().mutex);
  const auto stream = find_stream(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  *status = stream->capture == nullptr  ? CU_STREAM_CAPTURE_STATUS_NONE
            : stream->is_capture_broken ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                        : CU_STREAM_CAPTURE_STATUS_ACTIVE;
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuGraphInstantiate(CUgraphExec* exec, CUgraph graph, unsigned long long) {
  *exec = new CUgraphExec_st{graph->works};
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuGraphLaunch(CUgraphExec exec, CUstream handle) {
  const Lock lock(driver().mutex);
  return enqueue(handle, [works = exec->works] {
    for (const Work& work : works) work();
  });
}
KVAULT_EXPORT cuGraphExecDestroy(CUgraphExec exec) {
  delete exec;
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuGraphDestroy(CUgraph graph) {
  delete graph;
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuEventCreate(CUevent* event, unsigned) {
  *event = new CUevent_st;
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuEventRecord(CUevent event, CUstream handle) {
  const Lock lock(driver().mutex);
  const CUresult refused = refuse_capture(handle);
  if (refused != CUDA_SUCCESS) return refused;
  const auto stream = find_stream(handle);
  order_with_legacy(stream);
  event->stream = stream;
  event->place = stream->n_enqueued;
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuEventSynchronize(CUevent event) {
  const Lock lock(driver().mutex);
  event->wait();
  return CUDA_SUCCESS;
}
/// Who asks often enough sees it done.
KVAULT_EXPORT cuEventQuery(CUevent event) {
  const Lock lock(driver().mutex);
  if (event->is_done()) return CUDA_SUCCESS;
  event->stream->run_until(event->stream->n_done + 1);
  return CUDA_ERROR_NOT_READY;
}
KVAULT_EXPORT cuEventElapsedTime(float* time_ms, CUevent, CUevent end) {
  const Lock lock(driver().mutex);
  *time_ms = 0;
  return end->is_done() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}
KVAULT_EXPORT cuEventDestroy(CUevent event) {
  delete event;
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes) {
  *free_bytes = *total_bytes = kMemoryBytes;
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuMemPoolCreate(CUmemoryPool* pool, const CUmemPoolProps*) {
  return give_handle(pool);
}
KVAULT_EXPORT cuMemPoolDestroy(CUmemoryPool) { return CUDA_SUCCESS; }
KVAULT_EXPORT cuMemPoolSetAttribute(CUmemoryPool, CUmemPool_attribute, void*) {
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuMemAlloc(CUdeviceptr* address, std::size_t size) {
  const Lock lock(driver().mutex);
  if (current_context() == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  *address = driver().memory.allocate(size, CU_MEMORYTYPE_DEVICE, current_context());
  return *address == 0 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}
KVAULT_EXPORT cuMemFree(CUdeviceptr address) {
  const Lock lock(driver().mutex);
  // As a driver's: it waits for whatever might still use it.
  for (const auto& [handle, stream] : driver().streams) stream->run();
  for (CUcontext context : driver().contexts) context->default_stream->run();
  driver().memory.free(address);
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuMemAllocFromPoolAsync(CUdeviceptr* address, std::size_t size, CUmemoryPool,
                                      CUstream handle) {
  const Lock lock(driver().mutex);
  const CUresult refused = refuse_capture(handle);
  if (refused != CUDA_SUCCESS) return refused;
  // Of memory from pools a driver does not tell the context.
  *address = driver().memory.allocate(size, CU_MEMORYTYPE_DEVICE, nullptr);
  return *address == 0 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}
KVAULT_EXPORT cuMemFreeAsync(CUdeviceptr address, CUstream handle) {
  const Lock lock(driver().mutex);
  const CUresult refused = refuse_capture(handle);
  if (refused != CUDA_SUCCESS) return refused;
  return enqueue(handle, [address] { driver().memory.free(address); });
}
KVAULT_EXPORT cuMemHostAlloc(void** memory, std::size_t size, unsigned) {
  const Lock lock(driver().mutex);
  if (current_context() == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
  *memory = pointer(driver().memory.allocate(size, CU_MEMORYTYPE_HOST, current_context()));
  return *memory == nullptr ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}
KVAULT_EXPORT cuMemFreeHost(void* memory) {
  const Lock lock(driver().mutex);
  driver().memory.free(reinterpret_cast<CUdeviceptr>(memory));
  return CUDA_SUCCESS;
}
KVAULT_EXPORT cuPointerGetAttributes(unsigned n, CUpointer_attribute* attributes, void** data,
                                     CUdeviceptr address) {
  const Lock lock(driver().mutex);
  const Memory::Range* const range = driver().memory.find(address);
  const Memory::Range known = range == nullptr ? Memory::Range{} : *range;
  for (unsigned i = 0; i < n; ++i) {
    switch (attributes[i]) {
      case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *static_cast<unsigned*>(data[i]) =
            range == nullptr ? 0U : static_cast<unsigned>(known.type);
        break;
      case CU_POINTER_ATTRIBUTE_CONTEXT:
        *static_cast<CUcontext*>(data[i]) = known.context;
        break;
      case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *static_cast<int*>(data[i]) = range == nullptr ? -2 : 0;
        break;
      case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        *static_cast<CUdeviceptr*>(data[i]) = known.begin;
        break;
      case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
        *static_cast<std::size_t*>(data[i]) = known.size_bytes;
        break;
      default:
        return CUDA_ERROR_INVALID_VALUE;
    }
  }
  return CUDA_SUCCESS;
}
/// From memory that is not pinned: read at once, as a driver does.
KVAULT_EXPORT cuMemcpyHtoDAsync(CUdeviceptr target, const void* source, std::size_t size,
                                CUstream handle) {
  const Lock lock(driver().mutex);
  if (!is_device_memory(target, size)) return CUDA_ERROR_INVALID_VALUE;
  if (is_pinned(source, size)) {
    return enqueue(handle, [=] { std::memcpy(pointer(target), source, size); });
  }
  const auto* const bytes = static_cast<const unsigned char*>(source);
  return enqueue(handle, [target, copy = std::vector<unsigned char>(bytes, bytes + size)] {
    std::memcpy(pointer(target), copy.data(), copy.size());
  });
}
/// To memory that is not pinned: waits.
KVAULT_EXPORT cuMemcpyDtoHAsync(void* target, CUdeviceptr source, std::size_t size,
                                CUstream handle) {
  const Lock lock(driver().mutex);
  if (!is_device_memory(source, size)) return CUDA_ERROR_INVALID_VALUE;
  const CUresult enqueued = enqueue(handle, [=] { std::memcpy(target, pointer(source), size); });
  if (enqueued == CUDA_SUCCESS && !is_pinned(target, size)) find_stream(handle)->run();
  return enqueued;
}
KVAULT_EXPORT cuMemcpyDtoDAsync(CUdeviceptr target, CUdeviceptr source, std::size_t size,
                                CUstream handle) {
  const Lock lock(driver().mutex);
  if (!is_device_memory(source, size) || !is_device_memory(target, size)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return enqueue(handle, [=] { std::memcpy(pointer(target), pointer(source), size); });
}
KVAULT_EXPORT cuMemsetD8Async(CUdeviceptr target, unsigned char value, std::size_t size,
                              CUstream handle) {
  const Lock lock(driver().mutex);
  if (!is_device_memory(target, size)) return CUDA_ERROR_INVALID_VALUE;
  return enqueue(handle, [=] { std::memset(pointer(target), value, size); });
}
KVAULT_EXPORT cuLaunchKernel(CUfunction function, unsigned n_block, unsigned n_block_y,
                             unsigned n_block_z, unsigned n_thread, unsigned n_thread_y,
                             unsigned n_thread_z, unsigned shared_bytes, CUstream handle,
                             void** params, void**) {
  if (n_block_y != 1 || n_block_z != 1 || n_thread_y != 1 || n_thread_z != 1) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (n_block == 0 || n_thread == 0 || n_thread > 1024 || shared_bytes != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const Lock lock(driver().mutex);
  const auto* const first = static_cast<const unsigned char*>(params[0]);
  std::vector<unsigned char> argument(first, first + function->params_bytes);
  return enqueue(handle, [=, argument = std::move(argument)] {
    kvault::cuda::emulator::ThreadBlock block(
        {.n_block = n_block, .n_thread = n_thread, .shared_bytes = kSharedBytes});
    const std::function<void()> kernel = [&] { function->run(argument.data()); };
    for (unsigned i = 0; i < n_block; ++i) block.run(i, kernel);
  });
}
