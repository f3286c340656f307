#include "core/device/engine_memory.hpp"
#include "kvault/kvault_cuda.h"
#include "sdk/src/c_arguments.hpp"
#include "sdk/src/c_boundary.hpp"
#include "sdk/src/engine_ranges.hpp"

// The C interface for an engine's device memory: addresses are checked, and handed to the cache as
// what they are. Knows no backend: which memory it is, the device says.

using kvault::AttendRequest;
using kvault::EngineMemory;
using kvault::Errc;
using kvault::fail;
using kvault::LayerIndex;
using kvault::LayerSpec;
using kvault::Result;
using kvault::RowsView;
using kvault::Side;
using kvault::c::EngineRanges;
using kvault::c::guard;

namespace {

/// A call on a layer, whose arguments become those of the cache one by one.
class Call {
 public:
  static Result<Call> create(kvault_cache* cache, std::uint32_t layer) {
    KVAULT_CHECK(kvault::c::require(cache, "cache"));
    EngineMemory* const memory = cache->shared.device->engine_memory();
    if (memory == nullptr) {
      return fail(Errc::unsupported,
                  "the cache is in no context that an engine lent (cuda_device of its options)");
    }
    KVAULT_TRY(const LayerSpec spec, kvault::c::spec_of(*cache, layer));
    KVAULT_CHECK(memory->check_queue());
    return Call(*cache, spec, *memory);
  }

  Result<RowsView> rows(Side side, const kvault_rows* given) {
    KVAULT_TRY(RowsView rows, kvault::c::to_rows(cache_, spec_, side, given));
    rows.on_device = true;
    KVAULT_CHECK(ranges_.add_rows(side == Side::key ? "keys" : "values", rows));
    return rows;
  }
  Result<AttendRequest> request(const kvault_attend_options* given) {
    KVAULT_TRY(AttendRequest request, kvault::c::to_request(spec_, given));
    request.on_device = true;
    KVAULT_CHECK(ranges_.add_request(request));
    return request;
  }

 private:
  Call(kvault_cache& cache, const LayerSpec& spec, EngineMemory& memory)
      : cache_(cache), spec_(spec), ranges_(memory) {}

  kvault_cache& cache_;
  LayerSpec spec_;
  EngineRanges ranges_;
};

}  // namespace

extern "C" {

kvault_status kvault_cuda_append(kvault_cache* cache, uint32_t layer, const kvault_rows* keys,
                                 const kvault_rows* values, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_TRY(Call call, Call::create(cache, layer));
    KVAULT_TRY(const RowsView k, call.rows(Side::key, keys));
    KVAULT_TRY(const RowsView v, call.rows(Side::value, values));
    return cache->cache.append(LayerIndex(layer), k, v);
  });
}

kvault_status kvault_cuda_attend(kvault_cache* cache, uint32_t layer,
                                 const kvault_attend_options* options, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_TRY(Call call, Call::create(cache, layer));
    KVAULT_TRY(const AttendRequest request, call.request(options));
    return cache->cache.attend(LayerIndex(layer), request);
  });
}

kvault_status kvault_cuda_append_attend(kvault_cache* cache, uint32_t layer,
                                        const kvault_rows* keys, const kvault_rows* values,
                                        const kvault_attend_options* options, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_TRY(Call call, Call::create(cache, layer));
    KVAULT_TRY(const RowsView k, call.rows(Side::key, keys));
    KVAULT_TRY(const RowsView v, call.rows(Side::value, values));
    KVAULT_TRY(const AttendRequest request, call.request(options));
    return cache->cache.append_attend(LayerIndex(layer), k, v, request);
  });
}

}  // extern "C"
