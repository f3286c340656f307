#pragma once

#include <memory>
#include <vector>

#include "core/base/result.hpp"
#include "core/cache/cache.hpp"
#include "core/device/device.hpp"
#include "kvault/kvault.h"

namespace kvault::vulkan {
class EngineBuffers;
}

namespace kvault::c {

/// A device, and the way to the buffers of the engine that lent it.
struct SharedDevice {
  std::shared_ptr<Device> device;
  std::shared_ptr<vulkan::EngineBuffers> engine_buffers;  ///< null: no engine lent it
};

}  // namespace kvault::c

/// What a kvault_cache pointer points to: a cache of its own or a session's, and a share in its
/// device, which forks hold too.
struct kvault_cache {
  kvault_cache(kvault::c::SharedDevice device, kvault::Cache owned)
      : shared(std::move(device)),
        own(std::make_unique<kvault::Cache>(std::move(owned))),
        cache(*own) {}
  kvault_cache(kvault::c::SharedDevice device, kvault::Cache* borrowed)
      : shared(std::move(device)), cache(*borrowed) {}

  kvault::c::SharedDevice shared;
  std::unique_ptr<kvault::Cache> own;
  kvault::Cache& cache;
};

namespace kvault::c {

/// The device that the options name or lend; neither means cpu.
Result<SharedDevice> open_device(const kvault_cache_options& options);

/// out_of_range where the cache has no such layer.
Result<LayerSpec> spec_of(const kvault_cache& cache, std::uint32_t layer);

/// Checks and converts the C options.
Result<CacheOptions> to_cache_options(const kvault_cache_options& options);

}  // namespace kvault::c
