#pragma once

#include <memory>
#include <vector>

#include "core/base/result.hpp"
#include "core/cache/cache.hpp"
#include "core/device/device.hpp"
#include "kvault/kvault.h"

/// What a kvault_cache pointer points to: a cache and a share in its device, which a fork holds
/// too.
struct kvault_cache {
  std::shared_ptr<kvault::Device> device;
  kvault::Cache cache;
};

namespace kvault::c {

/// The device of this name; NULL and "" mean cpu. device_absent or not_found.
Result<std::shared_ptr<Device>> open_device(const char* name, std::uint32_t n_thread);

/// Checks and converts the C options.
Result<CacheOptions> to_cache_options(const kvault_cache_options& options);

}  // namespace kvault::c
