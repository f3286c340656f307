#include "core/device/engine_memory.hpp"
#include "gpu_cuda/lent_memory.hpp"
#include "gpu_cuda/standing_attend.hpp"
#include "kvault/kvault_cuda.h"
#include "sdk/src/c_arguments.hpp"
#include "sdk/src/c_boundary.hpp"
#include "sdk/src/engine_ranges.hpp"

// The C interface of attends that are captured to graphs.

using kvault::AttendRequest;
using kvault::Errc;
using kvault::fail;
using kvault::LayerIndex;
using kvault::LayerKind;
using kvault::LayerSpec;
using kvault::message;
using kvault::Result;
using kvault::c::guard;
using kvault::c::require;
using kvault::cuda::LentMemory;
using kvault::cuda::StandingAttend;

struct kvault_cuda_plan {
  kvault_cache& cache;
  LayerIndex layer;
  AttendRequest request;
  std::uint64_t n_token_max;
  StandingAttend standing;
  bool is_updated = false;
};

namespace {

Result<> check_shape(const LayerSpec& spec, std::uint32_t layer, const AttendRequest& request) {
  if (spec.kind != LayerKind::full_attention) {
    return fail(Errc::unsupported,
                message("layer ", layer, " is not one of full attention, which plans are for"));
  }
  if (request.n_q != 1) {
    return fail(Errc::unsupported, message("a plan is for 1 query, not for ", request.n_q));
  }
  if (!request.mask.empty() || request.sparse_values.threshold != 0) {
    return fail(Errc::unsupported, "a plan has neither a mask nor sparse values");
  }
  return {};
}

/// Only the CUDA backend has one.
LentMemory& memory_of(const kvault_cache& cache) {
  return static_cast<LentMemory&>(*cache.shared.device->engine_memory());
}

Result<> check_lengths(const kvault_cuda_plan& plan) {
  const kvault::LayerCache& layer = plan.cache.cache.layer(plan.layer);
  if (layer.n_token() == 0 || layer.n_token() > plan.n_token_max) {
    return fail(Errc::out_of_range, message("layer ", plan.layer.raw, " has ", layer.n_token(),
                                            " tokens, the plan is for 1 to ", plan.n_token_max));
  }
  if (!layer.equaliser().is_fixed()) {
    return fail(Errc::unsupported,
                message("layer ", plan.layer.raw,
                        ": the equaliser still learns from queries, which a plan "
                        "does not show it"));
  }
  return {};
}

}  // namespace

extern "C" {

kvault_status kvault_cuda_plan_create(kvault_cache* cache, uint32_t layer,
                                      const kvault_attend_options* options, uint64_t n_token_max,
                                      kvault_cuda_plan** out_plan, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(out_plan, "out_plan"));
    *out_plan = nullptr;
    KVAULT_CHECK(require(cache, "cache"));
    if (cache->shared.device->engine_memory() == nullptr) {
      return fail(Errc::unsupported,
                  "the cache is in no context that an engine lent (cuda_device of its options)");
    }
    KVAULT_TRY(const LayerSpec spec, kvault::c::spec_of(*cache, layer));
    KVAULT_TRY(AttendRequest request, kvault::c::to_request(spec, options));
    KVAULT_CHECK(check_shape(spec, layer, request));
    const std::uint64_t limit = cache->cache.options().n_token_max;
    if (n_token_max == 0 || n_token_max > limit) {
      return fail(Errc::out_of_range,
                  message("n_token_max is ", n_token_max, ", the cache keeps 1 to ", limit));
    }
    LentMemory& memory = memory_of(*cache);
    KVAULT_CHECK(kvault::c::EngineRanges(memory).add_request(request));
    request.on_device = true;
    const std::uint64_t n_page = (n_token_max + kvault::kPageTokens - 1) / kvault::kPageTokens;
    *out_plan = new kvault_cuda_plan{.cache = *cache,
                                     .layer = LayerIndex(layer),
                                     .request = request,
                                     .n_token_max = n_token_max,
                                     .standing = {memory.runtime(), n_page}};
    return {};
  });
}

void kvault_cuda_plan_destroy(kvault_cuda_plan* plan) { delete plan; }

kvault_status kvault_cuda_plan_update(kvault_cuda_plan* plan, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(plan, "plan"));
    KVAULT_CHECK(memory_of(plan->cache).check_queue());
    KVAULT_CHECK(plan->cache.cache.load_layer(plan->layer));
    KVAULT_CHECK(check_lengths(*plan));
    const StandingAttend::Scope scope(plan->standing);
    KVAULT_CHECK(plan->cache.cache.attend(plan->layer, plan->request));
    plan->is_updated = true;
    return {};
  });
}

kvault_status kvault_cuda_plan_attend(kvault_cuda_plan* plan, kvault_error* error) {
  return guard(error, [&]() -> Result<> {
    KVAULT_CHECK(require(plan, "plan"));
    if (!plan->is_updated) {
      return fail(Errc::invalid_argument,
                  "the plan was never updated; see kvault_cuda_plan_update");
    }
    return plan->standing.enqueue();
  });
}

}  // extern "C"
