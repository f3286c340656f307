#pragma once

#include <memory>
#include <vector>

#include "core/base/result.hpp"
#include "core/cache/cache.hpp"
#include "core/device/device.hpp"
#include "kvault/kvault.h"

/// What a kvault_cache pointer points to: a cache of its own or a session's, and a share in its
/// device, which forks hold too.
struct kvault_cache {
  kvault_cache(std::shared_ptr<kvault::Device> shared_device, kvault::Cache owned)
      : device(std::move(shared_device)),
        own(std::make_unique<kvault::Cache>(std::move(owned))),
        cache(*own) {}
  kvault_cache(std::shared_ptr<kvault::Device> shared_device, kvault::Cache* borrowed)
      : device(std::move(shared_device)), cache(*borrowed) {}

  std::shared_ptr<kvault::Device> device;
  std::unique_ptr<kvault::Cache> own;
  kvault::Cache& cache;
};

namespace kvault::c {

/// The device of this name, as kvault_cache_options has it; NULL means cpu.
Result<std::shared_ptr<Device>> open_device(const char* name, std::uint32_t n_thread);

/// Checks and converts the C options.
Result<CacheOptions> to_cache_options(const kvault_cache_options& options);

}  // namespace kvault::c
