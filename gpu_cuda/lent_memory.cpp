#include "gpu_cuda/lent_memory.hpp"

#include <array>
#include <cstdio>
#include <limits>
#include <vector>

#include "core/base/assert.hpp"
#include "gpu_cuda/cuda_buffer.hpp"

namespace kvault::cuda {
namespace {

constexpr std::uint32_t kNone = 0xFFFFFFFFU;

std::string text_of(const void* address) {
  std::array<char, 32> text = {};
  std::snprintf(text.data(), text.size(), "%p", address);
  return text.data();
}

/// What the driver knows of an address.
struct Place {
  unsigned type = 0;  ///< a CUmemorytype, or 0: nothing of CUDA's
  CUcontext context = nullptr;
  int device = 0;
  CUdeviceptr begin = 0;
  std::size_t size_bytes = 0;
};

Result<Place> find_place(const Context& context, CUdeviceptr address) {
  Place place;
  std::array<CUpointer_attribute, 5> attributes = {
      CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_CONTEXT,
      CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR,
      CU_POINTER_ATTRIBUTE_RANGE_SIZE};
  std::array<void*, 5> values = {&place.type, &place.context, &place.device, &place.begin,
                                 &place.size_bytes};
  KVAULT_CHECK(context.check(context.api().cuPointerGetAttributes(
                                 attributes.size(), attributes.data(), values.data(), address),
                             "asking for an address"));
  return place;
}

/// Whether the context's kernels can use it. Of memory from pools and of mapped memory the driver
/// does not tell the context.
bool is_own(const Context& context, const Place& place) {
  return place.type == CU_MEMORYTYPE_DEVICE && place.device == context.device() &&
         (place.context == nullptr || place.context == context.handle());
}

tl::unexpected<Error> refuse(const Context& context, std::string_view name, const void* address,
                             const Place& place) {
  const auto what = [&]() -> std::string {
    if (place.type == CU_MEMORYTYPE_HOST) return "host memory";
    if (place.type != CU_MEMORYTYPE_DEVICE) return "no memory that CUDA knows";
    if (place.device != context.device()) {
      return message("memory of device ", place.device, ", not of ", context.device());
    }
    return "memory of another context than the lent one";
  };
  return fail(Errc::invalid_argument, message(name, " at ", text_of(address), " is ", what()));
}

/// Params for a kernel that takes rows; where they go is for the caller.
GatherParams params_of(const EngineRows& rows) {
  GatherParams params = {};
  params.source = rows.data;
  params.token_stride_bytes = static_cast<std::uint64_t>(rows.token_stride_bytes);
  params.head_stride_bytes = static_cast<std::uint64_t>(rows.head_stride_bytes);
  params.n_head = rows.n_head;
  params.row_bytes = rows.head_dim * static_cast<std::uint32_t>(size_bytes_of(rows.type));
  params.format = BlockFormat::raw(rows.type).byte();
  return params;
}

std::uint32_t word_bytes_of(const GatherParams& params) {
  const std::uint64_t all = reinterpret_cast<std::uintptr_t>(params.source) |
                            reinterpret_cast<std::uintptr_t>(params.target) |
                            params.token_stride_bytes | params.head_stride_bytes |
                            params.target_head_stride_bytes | params.row_bytes;
  return all % 4 == 0 ? 4 : 2;
}

}  // namespace

Result<> LentMemory::check(std::string_view name, const void* address, std::uint64_t size_bytes,
                           std::uint64_t alignment_bytes) {
  const Context& context = runtime_->context();
  const auto begin = reinterpret_cast<CUdeviceptr>(address);
  if (address == nullptr) {
    return fail(Errc::invalid_argument, message(name, " is NULL"));
  }
  if (begin % alignment_bytes != 0) {
    return fail(Errc::invalid_argument, message(name, " at ", text_of(address),
                                                " is not aligned to ", alignment_bytes, " bytes"));
  }
  const Context::Scope scope(context);
  for (std::uint64_t done = 0; done == 0 || done < size_bytes;) {
    if (done > std::numeric_limits<CUdeviceptr>::max() - begin) break;
    KVAULT_TRY(const Place place, find_place(context, begin + done));
    if (!is_own(context, place)) {
      if (done == 0) return refuse(context, name, address, place);
      return fail(Errc::out_of_range,
                  message(name, ": of ", size_bytes, " bytes at ", text_of(address),
                          " the device's memory holds ", done));
    }
    if (place.size_bytes == 0) return {};
    done = place.begin + place.size_bytes - begin;
  }
  return {};
}

Result<> LentMemory::check_queue() {
  const Context::Scope scope(runtime_->context());
  KVAULT_CHECK(runtime_->stream().check_alive());
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  KVAULT_CHECK(runtime_->stream().check(
      runtime_->api().cuStreamIsCapturing(runtime_->stream().handle(), &status),
      "asking whether the stream is captured"));
  if (status == CU_STREAM_CAPTURE_STATUS_NONE) return {};
  return fail(Errc::unsupported, "cuda: the lent stream is being captured to a graph");
}

Result<std::optional<RowElement>> LentMemory::find_not_finite(const EngineRows& rows) {
  if (rows_are_finite_ || rows.n_token == 0) return std::optional<RowElement>();
  const Context::Scope scope(runtime_->context());
  CallMemory found(*runtime_);
  std::vector<std::uint32_t> elements(rows.n_token);
  const auto bytes = std::as_writable_bytes(std::span(elements));
  KVAULT_CHECK(found.allocate(bytes.size()));
  GatherParams params = params_of(rows);
  params.found = reinterpret_cast<std::uint32_t*>(found.address());
  params.word_bytes = word_bytes_of(params);
  KVAULT_CHECK(runtime_->launch(Kernel::gather, params, rows.n_token));
  Stream& stream = runtime_->stream();
  const Result<> fetched = runtime_->download(bytes, found.address());
  KVAULT_CHECK(stream.wait(stream.open_value()));
  KVAULT_CHECK(fetched);
  for (std::uint32_t token = 0; token < rows.n_token; ++token) {
    if (elements[token] == kNone) continue;
    return std::optional<RowElement>(
        {token, elements[token] / rows.head_dim, elements[token] % rows.head_dim});
  }
  return std::optional<RowElement>();
}

Result<> LentMemory::gather(const EngineRows& rows, Buffer& target, const EngineRowsTarget& place) {
  const Context::Scope scope(runtime_->context());
  KVAULT_CHECK(cuda_buffer(target).settle());
  GatherParams params = params_of(rows);
  params.target = reinterpret_cast<std::byte*>(memory_of(target) + place.offset_bytes);
  params.target_head_stride_bytes = place.head_stride_bytes;
  params.word_bytes = word_bytes_of(params);
  return runtime_->launch(Kernel::gather, params, rows.n_token);
}

Result<> LentMemory::read(const void* source, std::span<std::byte> target) {
  const Context::Scope scope(runtime_->context());
  Stream& stream = runtime_->stream();
  const Result<> fetched = runtime_->download(target, reinterpret_cast<CUdeviceptr>(source));
  KVAULT_CHECK(stream.wait(stream.open_value()));
  return fetched;
}

}  // namespace kvault::cuda
