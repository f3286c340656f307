#pragma once

#include <memory>
#include <vector>

#include "core/device/device.hpp"
#include "tools/bench/layer_set.hpp"
#include "tools/bench/variant.hpp"

namespace kvault::tools {

/// Turns pages back into f16 rows, K then V of all kv heads; a visit's time is that of one page.
/// The device and the set must outlive it.
class ReconstructVariant final : public Variant {
 public:
  static Result<std::unique_ptr<ReconstructVariant>> create(Device& device, const LayerSet& set,
                                                            const BenchShape& shape);
  Result<double> visit_us() override;

 private:
  ReconstructVariant(Device& device, const LayerSet& set, const BenchShape& shape);
  Result<> reconstruct_next();
  Result<> reconstruct_side(Side side, std::span<const BlockRef> blocks);

  Device& device_;
  BenchShape shape_;
  std::vector<std::unique_ptr<Buffer>> layers_;
  std::uint32_t n_call_page_;
  std::vector<BlockRef> keys_;  ///< [n_page, n_kv_head] of a layer
  std::vector<BlockRef> values_;
  std::vector<Half> rows_;
  std::size_t next_layer_ = 0;
  std::size_t next_block_ = 0;
  CallTimer timer_;
};

}  // namespace kvault::tools
