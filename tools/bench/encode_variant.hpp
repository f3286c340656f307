#pragma once

#include <memory>
#include <vector>

#include "core/device/device.hpp"
#include "tools/bench/layer_set.hpp"
#include "tools/bench/variant.hpp"

namespace kvault::tools {

/// Seals pages of raw f16 rows, K then V of all kv heads; a visit's time is that of one page. The
/// device and the set must outlive it.
class EncodeVariant final : public Variant {
 public:
  /// `source` is a set of raw pages, `target` the preset they are sealed into.
  static Result<std::unique_ptr<EncodeVariant>> create(Device& device, const LayerSet& source,
                                                       const Preset& target,
                                                       const BenchShape& shape);
  Result<double> visit_us() override;

 private:
  EncodeVariant(Device& device, const BenchShape& shape) : device_(device), shape_(shape) {}
  void plan_blocks(const LayerSet& source, const Preset& target);
  Result<> encode_next();
  Result<> encode_side(Side side, std::span<const EncodeBlock> blocks);

  Device& device_;
  BenchShape shape_;
  std::vector<std::unique_ptr<Buffer>> layers_;
  std::unique_ptr<Buffer> target_;
  std::uint64_t target_size_bytes_ = 0;
  std::uint32_t n_call_page_ = 0;        ///< pages of one call
  std::vector<EncodeBlock> key_blocks_;  ///< [n_page, n_kv_head] of a layer
  std::vector<EncodeBlock> value_blocks_;
  std::vector<EncodeOutcome> outcomes_;
  std::size_t next_layer_ = 0;
  std::size_t next_block_ = 0;
  CallTimer timer_;
};

}  // namespace kvault::tools
