#pragma once

#include "core/base/result.hpp"
#include "core/base/units.hpp"

namespace kvault {

class Cache;

/// Where the layers of a cache come from that it does not hold yet: a stored session that is read
/// layer by layer. The cache owns its source and asks it before a layer's first use.
class LayerSource {
 public:
  LayerSource() = default;
  LayerSource(const LayerSource&) = delete;
  LayerSource& operator=(const LayerSource&) = delete;
  virtual ~LayerSource() = default;

  virtual bool is_loaded(LayerIndex layer) const = 0;
  /// Puts the layer in place, with all its checks. A failure leaves it not loaded and the other
  /// layers as they were, and loading may be tried again. pre: !is_loaded(layer)
  virtual Result<> load(Cache& cache, LayerIndex layer) = 0;
  /// Returns when what was loaded is on the device. Work on the device queues up behind it anyway.
  virtual Result<> wait() = 0;
};

}  // namespace kvault
