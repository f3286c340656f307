#include <array>

#include "gpu_vulkan/engine_buffers.hpp"
#include "kvault/kvault_vulkan.h"
#include "sdk/src/c_boundary.hpp"
#include "sdk/src/cache_handle.hpp"
#include "sdk/src/vulkan/staged_attend.hpp"
#include "sdk/src/vulkan/staged_rows.hpp"

// The C interface for an engine's buffers: what is in them is brought to the host, handed to the
// function of kvault.h, which checks it, and what that gives is brought back.

using kvault::Errc;
using kvault::fail;
using kvault::LayerSpec;
using kvault::Result;
using kvault::Side;
using kvault::c::guard;
using kvault::c::StagedAttend;
using kvault::c::StagedRows;
using kvault::vulkan::EngineBuffers;
using kvault::vulkan::EngineRead;

namespace {

struct Target {
  EngineBuffers& buffers;
  LayerSpec spec;
};

Result<Target> find_target(const kvault_cache* cache, std::uint32_t layer) {
  KVAULT_CHECK(kvault::c::require(cache, "cache"));
  if (cache->shared.engine_buffers == nullptr) {
    return fail(Errc::unsupported,
                "the cache is on no device that an engine lent (vulkan_device of its options)");
  }
  KVAULT_TRY(const LayerSpec spec, kvault::c::spec_of(*cache, layer));
  return Target{*cache->shared.engine_buffers, spec};
}

Result<> read(EngineBuffers& buffers, const kvault_vulkan_wait* wait,
              std::span<const EngineRead> reads) {
  if (wait != nullptr && wait->semaphore != 0) {
    KVAULT_CHECK(buffers.wait(reinterpret_cast<VkSemaphore>(wait->semaphore), wait->value));
  }
  return buffers.read(reads);
}

kvault_status write_results(kvault_cache* cache, const StagedAttend& staged, kvault_error* error) {
  return guard(error, [&] { return cache->shared.engine_buffers->write(staged.writes()); });
}

}  // namespace

extern "C" {

kvault_status kvault_vulkan_append(kvault_cache* cache, uint32_t layer,
                                   const kvault_vulkan_rows* keys, const kvault_vulkan_rows* values,
                                   const kvault_vulkan_wait* wait, kvault_error* error) {
  StagedRows k;
  StagedRows v;
  const kvault_status status = guard(error, [&]() -> Result<> {
    KVAULT_TRY(const Target target, find_target(cache, layer));
    KVAULT_TRY(k, StagedRows::create(*cache, target.spec, Side::key, keys));
    KVAULT_TRY(v, StagedRows::create(*cache, target.spec, Side::value, values));
    return read(target.buffers, wait, std::array{k.read(), v.read()});
  });
  if (status != KVAULT_OK) return status;
  const kvault_rows k_rows = k.rows();
  const kvault_rows v_rows = v.rows();
  return kvault_cache_append(cache, layer, &k_rows, &v_rows, error);
}

kvault_status kvault_vulkan_attend(kvault_cache* cache, uint32_t layer,
                                   const kvault_attend_options* options,
                                   const kvault_vulkan_attend_buffers* buffers,
                                   const kvault_vulkan_wait* wait, kvault_error* error) {
  StagedAttend staged;
  kvault_status status = guard(error, [&]() -> Result<> {
    KVAULT_TRY(const Target target, find_target(cache, layer));
    KVAULT_TRY(staged, StagedAttend::create(target.spec, options, buffers));
    return read(target.buffers, wait, std::array{staged.read()});
  });
  if (status != KVAULT_OK) return status;
  const kvault_attend_options on_host = staged.options();
  status = kvault_cache_attend(cache, layer, &on_host, error);
  return status == KVAULT_OK ? write_results(cache, staged, error) : status;
}

kvault_status kvault_vulkan_append_attend(kvault_cache* cache, uint32_t layer,
                                          const kvault_vulkan_rows* keys,
                                          const kvault_vulkan_rows* values,
                                          const kvault_attend_options* options,
                                          const kvault_vulkan_attend_buffers* buffers,
                                          const kvault_vulkan_wait* wait, kvault_error* error) {
  StagedRows k;
  StagedRows v;
  StagedAttend staged;
  kvault_status status = guard(error, [&]() -> Result<> {
    KVAULT_TRY(const Target target, find_target(cache, layer));
    KVAULT_TRY(k, StagedRows::create(*cache, target.spec, Side::key, keys));
    KVAULT_TRY(v, StagedRows::create(*cache, target.spec, Side::value, values));
    KVAULT_TRY(staged, StagedAttend::create(target.spec, options, buffers));
    return read(target.buffers, wait, std::array{k.read(), v.read(), staged.read()});
  });
  if (status != KVAULT_OK) return status;
  const kvault_rows k_rows = k.rows();
  const kvault_rows v_rows = v.rows();
  const kvault_attend_options on_host = staged.options();
  status = kvault_cache_append_attend(cache, layer, &k_rows, &v_rows, &on_host, error);
  return status == KVAULT_OK ? write_results(cache, staged, error) : status;
}

}  // extern "C"
